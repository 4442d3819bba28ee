#include "products/product_records.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "io/file.h"
#include "io/json.h"
#include "io/publish.h"
#include "io/sha256.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// JSON has no word for the others.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(fmt::format("{}", value)); }
double value_of(const Json& json) {
  return json.is_number() ? json.as_number() : std::strtod(json.as_string().c_str(), nullptr);
}

// Every member, so that one that is added is not left out of a record: the count is asserted below.
auto figures_of(auto& proof) {
  return std::tie(proof.tokens, proof.kld_mean, proof.kld_p99, proof.top1, proof.confidence, proof.largest,
                  proof.targets, proof.perplexity_ratio, proof.ends, proof.ends_kept);
}
static_assert(sizeof(LogitProof) == 10 * sizeof(double), "a member of LogitProof is missing from figures_of");

Json to_json(const LogitProof& proof) {
  Json::Array figures;
  std::apply([&](const auto&... figure) { (figures.push_back(number(static_cast<double>(figure))), ...); },
             figures_of(proof));
  return figures;
}

LogitProof logits_from(const Json& json) {
  LogitProof proof;
  size_t at = 0;
  const auto take = [&](auto& figure) {
    figure = static_cast<std::remove_reference_t<decltype(figure)>>(value_of(json.as_array().at(at++)));
  };
  std::apply([&](auto&... figure) { (take(figure), ...); }, figures_of(proof));
  return proof;
}

Json to_json(const DeltaSurvival& survival) {
  Json::Array tensors;
  for (const auto& [tensor, type, sums, columns] : survival.tensors)
    tensors.push_back(Json::Array{tensor, static_cast<int64_t>(type), note_of(sums), columns});
  return tensors;
}

DeltaSurvival survival_from(const Json& json) {
  DeltaSurvival survival;
  for (const auto& entry : json.as_array()) {
    const auto& fields = entry.as_array();
    survival.tensors.push_back({.tensor = fields.at(0).as_string(),
                                .type = static_cast<GgmlType>(fields.at(1).as_integer()),
                                .sums = sums_of(fields.at(2).as_string()),
                                .columns_per_rank = fields.at(3).as_number()});
  }
  return survival;
}

Json to_json(const Verification& found) {
  Json::Array checks;
  for (const auto& [name, passed, value, limit, detail] : found.checks)
    checks.push_back(Json::Array{name, passed, number(value), number(limit), detail});
  Json::Object logits, survivals;
  for (const auto& [artifact, proof] : found.logits) logits.emplace_back(artifact, to_json(proof));
  for (const auto& [artifact, survival] : found.survivals) survivals.emplace_back(artifact, to_json(survival));
  return Json::Object{
      {"checks", std::move(checks)}, {"logits", std::move(logits)}, {"survivals", std::move(survivals)}};
}

Verification verification_from(const Json& json) {
  Verification found;
  for (const auto& entry : json.at("checks").as_array()) {
    const auto& fields = entry.as_array();
    found.checks.push_back({.name = fields.at(0).as_string(),
                            .passed = fields.at(1).as_bool(),
                            .value = value_of(fields.at(2)),
                            .limit = value_of(fields.at(3)),
                            .detail = fields.at(4).as_string()});
  }
  for (const auto& [artifact, proof] : json.at("logits").as_object()) found.logits[artifact] = logits_from(proof);
  for (const auto& [artifact, survival] : json.at("survivals").as_object())
    found.survivals[artifact] = survival_from(survival);
  return found;
}

// Of a file, or of every file below a folder, under the product's name.
FileHashes hashes_of(const std::string& name, const fs::path& product) {
  if (!fs::is_directory(product)) return {{name, sha256_file(product)}};
  FileHashes hashes;
  for (const auto& entry : fs::recursive_directory_iterator(product)) {
    throw_if_stopped(kContinues);
    if (entry.is_regular_file())
      hashes.emplace((fs::path(name) / entry.path().lexically_relative(product)).string(), sha256_file(entry.path()));
  }
  return hashes;
}

Json to_json(const FileHashes& hashes) {
  Json::Object object;
  for (const auto& [name, hash] : hashes) object.emplace_back(name, hash);
  return object;
}

}  // namespace

std::string ProductRecords::key(const std::string& name) const {
  Sha256 hash;
  hash.update_sized(made_of_);
  hash.update_sized(name);
  return hash.hex();
}

// A product's name as a file's.
fs::path ProductRecords::record(const std::string& name) const {
  return out_ / kMadeFolder / fs::path(name).filename();
}

fs::path ProductRecords::temporary(const std::string& name) const { return temporary_path(out_ / name, nonce(name)); }

ResumeOptions ProductRecords::resume(const std::string& name) const {
  return {.log = record(name) += ".log", .key = key(name)};
}

// The first line is the hash of the second: of a record that is damaged nothing is believed.
std::optional<Verification> ProductRecords::find(const std::string& name) const {
  const fs::path path = record(name) += ".json";
  if (!fs::exists(path) || !fs::exists(out_ / name)) return std::nullopt;
  const std::string text = read_text_file(path);
  const size_t end = std::min(text.find('\n'), text.size() - 1);
  const std::string_view body = std::string_view(text).substr(end + 1);
  if (sha256_hex(body) != std::string_view(text).substr(0, end)) return std::nullopt;
  return with_context(ExitCode::storage, path.string(), [&]() -> std::optional<Verification> {
    const Json json = Json::parse(body);
    if (json.at("key") != Json(key(name)) || json.at("files") != to_json(hashes_of(name, out_ / name)))
      return std::nullopt;
    return verification_from(json.at("found"));
  });
}

FileHashes ProductRecords::add(const std::string& name, const fs::path& made, const Verification& found) const {
  FileHashes hashes = hashes_of(name, made);
  const Json json = Json::Object{{"key", key(name)}, {"files", to_json(hashes)}, {"found", to_json(found)}};
  const std::string body = json.dump();
  publish_file(record(name) += ".json", sha256_hex(body) + "\n" + body);
  return hashes;
}

void forget_products(const fs::path& out) {
  std::error_code ignored;  // a folder that stays costs its bytes
  fs::remove_all(out / kMadeFolder, ignored);
}

}  // namespace prentice

#include "proof/verify.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>

#include "adapter/merge.h"
#include "export/nf4_form.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/make.h"
#include "model/stored_nf4.h"
#include "proof/artifact_reading.h"
#include "proof/comparison.h"
#include "quant/encode.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

Check companions_check(const fs::path& folder, const fs::path& companions, const HfFolderOptions& options) {
  const auto differs = [&](const std::string& name, std::string_view wanted) {
    std::error_code error;
    return !fs::exists(folder / name, error) || MappedFile::open(folder / name).text() != wanted;
  };
  std::string different;
  for (const auto& name : companion_files(companions)) {
    if (!options.own_files.contains(name) && differs(name, MappedFile::open(companions / name).text()))
      different = name;
  }
  for (const auto& [name, text] : options.own_files) {
    if (differs(name, text)) different = name;
  }
  const bool equal = different.empty();
  return equal_check("tokenizer and template files", equal, equal ? "byte for byte" : different + " differs");
}

// What first differs from a list that the file must hold as it is; "" where nothing does.
std::string token_difference(const GgufReader& file, const TokenizerTables& wanted) {
  const auto tokens = file.get<GgufArray>("tokenizer.ggml.tokens").strings();
  const auto types = file.get<GgufArray>("tokenizer.ggml.token_type").integers();
  if (tokens.size() != wanted.tokens.size() || types.size() != wanted.types.size())
    return fmt::format("expected {} tokens, got {} and {} types", wanted.tokens.size(), tokens.size(), types.size());
  const auto text = [](std::string_view token) { return Json(std::string(token)).dump(); };
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto type = static_cast<int32_t>(wanted.types[id]);
    if (tokens[id] != wanted.tokens[id])
      return fmt::format("token {}: expected {}, got {}", id, text(wanted.tokens[id]), text(tokens[id]));
    if (types[id] != type)
      return fmt::format("token {} ({}): expected type {}, got {}", id, text(tokens[id]), type, types[id]);
  }
  if (wanted.is_bpe) {
    const auto merges = file.get<GgufArray>("tokenizer.ggml.merges").strings();
    const auto apart = std::ranges::mismatch(merges, wanted.merges);
    if (apart.in1 == merges.end() && apart.in2 == wanted.merges.end()) return "";
    return fmt::format("merges differ from merge {} on", apart.in2 - wanted.merges.begin());
  }
  const auto scores = file.get<GgufArray>("tokenizer.ggml.scores").floats();
  const auto apart = std::ranges::mismatch(scores, wanted.scores);
  if (apart.in1 == scores.end() && apart.in2 == wanted.scores.end()) return "";
  return fmt::format("scores differ from token {} on", apart.in2 - wanted.scores.begin());
}

Check tokens_check(const GgufReader& file, const Tokenizer& tokenizer, int64_t rows) {
  const auto wanted = padded_tables(tokenizer, rows);
  const std::string difference = token_difference(file, wanted);
  return equal_check("token list", difference.empty(),
                     difference.empty() ? fmt::format("{} tokens", wanted.tokens.size()) : difference);
}

Check template_check(const GgufReader& file, const Tokenizer& tokenizer, const GgufOptions& options) {
  const auto& wanted = options.chat_template ? options.chat_template : tokenizer.chat_template();
  const auto* found = file.find("tokenizer.chat_template");
  const auto* text = found == nullptr ? nullptr : std::get_if<std::string>(found);
  const bool equal = wanted ? text != nullptr && *text == *wanted : found == nullptr;
  return equal_check("chat template", equal, !equal ? "differs" : wanted ? "byte for byte" : "none");
}

// A weight in four bits: read as any folder of bitsandbytes is, and compared with what the values come to.
void compare_nf4(Comparison& comparison, const WeightFolder& weights, const TensorView& codes,
                 const WeightSource& source, size_t index) {
  const auto& [name, shape] = source.tensors()[index];
  const std::string fault = nf4_fault(weights, codes, shape);
  comparison.parts(name, fault);
  if (!fault.empty()) return;
  const Nf4 found = stored_nf4(weights, codes, shape, at::kFloat), wanted = encoded_rows(source, index);
  std::vector<float> stored, values;
  const int64_t step = rows_at_a_time(wanted.columns, 1);
  for (int64_t first = 0; first < wanted.rows; first += step) {
    const int64_t count = std::min(step, wanted.rows - first) * wanted.columns;
    stored.resize(count), values.resize(count);
    decode_nf4(found, first * wanted.columns, stored), decode_nf4(wanted, first * wanted.columns, values);
    comparison.values(name, values, std::as_bytes(std::span(stored)), GgmlType::F32);
  }
}

Check adapter_header_check(const GgufReader& file, const ModelSpec& spec, double alpha) {
  const bool equal = file.get<std::string>("general.architecture") == spec.gguf.architecture &&
                     file.get<std::string>("general.type") == "adapter" &&
                     file.get<std::string>("adapter.type") == "lora" &&
                     file.get<float>("adapter.lora.alpha") == static_cast<float>(alpha);
  return equal_check("architecture and scale", equal, equal ? "" : "differ");
}

}  // namespace

bool Verification::passed() const { return std::ranges::all_of(checks, &Check::passed); }

bool Verification::add(std::vector<Check> found) {
  const bool all = std::ranges::all_of(found, &Check::passed);
  std::ranges::move(found, std::back_inserter(checks));
  return all;
}

std::string verdict(const Verification& verification) {
  if (verification.passed()) return fmt::format("passed {} checks", verification.checks.size());
  const auto failed = std::ranges::find(verification.checks, false, &Check::passed);
  return "failed: " + failed->name;
}

Verification verify_hf_folder(const fs::path& folder, const WeightSource& source, const ModelSpec& spec,
                              const fs::path& companions, const HfFolderOptions& options) {
  Verification result;
  const auto weights = WeightFolder::open(folder);
  result.checks.push_back(read_strictly(weights.files().size(), "files"));
  Comparison comparison;
  std::set<std::string> expected;
  const auto quantized = options.nf4 ? nf4_weights(source.spec()) : std::set<std::string>();
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const auto& [name, shape] = source.tensors()[i];
    expected.insert(name);
    const auto* found = weights.find(name);
    if (found == nullptr) {
      comparison.missing(name);
      continue;
    }
    if (quantized.contains(name)) {
      compare_nf4(comparison, weights, *found, source, i);
      for (const auto& info : nf4_tensors(name, shape)) expected.insert(info.name);
      continue;
    }
    const bool same_layout = found->dtype == dtype_of(options.type) && found->shape == shape;
    comparison.layout(name, same_layout);
    if (!same_layout) continue;
    const int64_t row_bytes = row_shape(shape).columns * dtype_bits(found->dtype) / 8;
    for_each_block(source, i, 1, [&](int64_t first, int64_t rows, std::span<const float> values) {
      comparison.values(name, values, found->bytes.subspan(first * row_bytes, rows * row_bytes), options.type);
    });
    weights.release_pages();
  }
  for (const auto* tensor : weights.tensors()) {
    if (!expected.contains(tensor->name)) comparison.extra(tensor->name);
  }
  result.add(comparison.checks());
  const bool config_equal =
      Json::parse_file(folder / "config.json") == exported_config(spec, options.type, options.nf4);
  result.checks.push_back(equal_check("config.json", config_equal, config_equal ? "" : "differs"));
  result.checks.push_back(companions_check(folder, companions, options));
  return result;
}

Verification verify_gguf(const fs::path& path, const WeightSource& source, const ModelSpec& spec,
                         const Tokenizer& tokenizer, const GgufOptions& options) {
  Verification result;
  const auto file = GgufReader::open(path);
  result.checks.push_back(read_strictly(file.tensors().size(), "tensors"));
  result.checks.push_back(tokens_check(file, tokenizer, spec.vocab));
  result.checks.push_back(template_check(file, tokenizer, options));
  Comparison comparison;
  for (const auto& plan : plan_gguf_tensors(source, spec, options)) {
    const auto* found = comparison.find(file, plan.info);
    if (found == nullptr) continue;
    uint64_t offset = 0;
    const auto& type = ggml_type_info(plan.info.type);
    for_each_gguf_block(source, plan, [&](std::span<const float> values) {
      const uint64_t bytes = values.size() / type.block_elements * type.block_bytes;
      comparison.values(plan.info.name, values, found->bytes.subspan(offset, bytes), plan.info.type, plan.importance);
      offset += bytes;
    });
    file.release_pages();
  }
  comparison.no_others(file);
  result.add(comparison.checks());
  return result;
}

Verification verify_gguf_adapter(const fs::path& path, const fs::path& folder, const ModelSpec& spec,
                                 const GgufAdapterOptions& options) {
  const c10::NoGradGuard no_grad;
  Verification result;
  const auto file = reading_artifact([&] { return GgufReader::open(path); });
  const auto adapter = PeftFolder::open(folder, make_model(spec, {.dtype = at::kFloat, .device = at::kMeta}));
  const GgufAdapterPlan plan = plan_gguf_adapter(adapter, spec, options.type);
  result.checks.push_back(read_strictly(file.tensors().size(), "tensors"));
  result.checks.push_back(reading_artifact([&] { return adapter_header_check(file, spec, plan.alpha); }));
  Comparison comparison;
  for (const auto& [info, values] : plan.tensors) {
    const auto* found = comparison.find(file, info);
    if (found == nullptr) continue;
    const Tensor wanted = values();
    comparison.values(info.name, {wanted.const_data_ptr<float>(), static_cast<size_t>(wanted.numel())}, found->bytes,
                      info.type);
  }
  comparison.no_others(file);
  result.add(comparison.checks());
  return result;
}

}  // namespace prentice

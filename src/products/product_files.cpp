#include "products/product_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.h"
#include "export/gguf_adapter.h"
#include "export/gguf_features.h"
#include "export/gguf_model.h"
#include "io/file.h"
#include "io/publish.h"
#include "io/sha256.h"
#include "io/stamp.h"
#include "products/calibration.h"
#include "products/product_records.h"
#include "proof/rejected.h"
#include "proof/served_reader.h"
#include "proof/verify_artifact.h"
#include "quant/encode.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// What an artifact must be equal to, and on what that is proven.
struct Proof {
  Trained trained;
  ProofRules rules;
};

// A reward model gives no words to prove.
Proof proof_of(const ProductSource& source, const WeightSource& weights, const ExportSection& section,
               int64_t context) {
  Proof proof{.trained = {.weights = weights, .tokenizer = source.tokenizer, .stop_ids = source.stop_ids},
              .rules = {.limits = section.limits, .before_layer = [] { throw_if_stopped(kContinues); }}};
  if (source.proof_tokens && source.spec.labels == 0) proof.rules.tokens = source.proof_tokens(context);
  return proof;
}

// How the verification ended is known when the file is whole.
FileOrigin to_be_verified(FileOrigin origin) {
  if (!origin.empty()) origin[kOriginVerification] = blank_stamp();
  return origin;
}

void stamp(const fs::path& product, const std::string& text) {
  if (!fs::is_directory(product)) return fill_stamp(product, text);
  for (const auto& entry : fs::directory_iterator(product)) {
    if (entry.path().extension() == ".safetensors") fill_stamp(entry.path(), text);
  }
}

// Of several stop tokens the chat model's own end of turn is the one a server must know.
std::optional<int32_t> turn_end(const ProductSource& source) {
  if (const auto eos = source.tokenizer.eos_id()) return eos;
  return source.stop_ids.empty() ? std::nullopt : std::optional<int32_t>(source.stop_ids.front());
}

std::string gguf_product(const std::string& name, FileType type) {
  return fmt::format("gguf/{}-{}.gguf", name, file_type_name(type));
}

std::string another_than_trained(const std::string& product, const std::string& served_type) {
  return fmt::format("{}: was not trained: adapter.qat trained for the {} file, whose rounding is not in this one",
                     product, served_type);
}

// Whether a file of these types holds the blocks that adapter.qat trained.
bool is_as_trained(const ProductSource& source, const ModelSpec& spec, FileType type, const ExportSection& section) {
  if (file_type_name(type) != source.served_type || !section.imatrix.empty()) return false;
  const auto type_of = [](const auto& entry) { return std::pair(entry.first, entry.second.type); };
  return source.served_types.empty() ||
         std::ranges::equal(served_types(spec, type, section.types), source.served_types, {}, type_of, type_of);
}

// What products of the source are made of: recipe, inputs and program, as its origin says; the adapter that was
// trained, or the weights themselves where they are in memory alone. An importance matrix follows from these.
std::string made_of(const ProductSource& source, const WeightSource* weights) {
  Sha256 hash;
  for (const auto& [key, value] : source.origin) hash.update_sized(key), hash.update_sized(value);
  if (!source.adapter.empty()) {
    for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
      hash.update_sized(sha256_file(source.adapter / file));
  }
  if (source.in_memory && weights) {
    for (size_t i = 0; i < weights->tensors().size(); ++i) {
      for_each_block(*weights, i, 1, [&](int64_t, int64_t, std::span<const float> rows) { hash.update_sized(rows); });
    }
  }
  return hash.hex();
}

// A process that is asked to stop leaves what it has written; one that fails does not.
template <class Temporary>
struct KeepIfStopped {
  Temporary& made;
  ~KeepIfStopped() {
    if (stop_signal() != 0) made.keep();
  }
};

class ProductWriter {
 public:
  ProductWriter(const ProductSource& source, const ExportSection& section, const std::string& name,
                const fs::path& out);
  ProductFiles make();

 private:
  void look_for_what_is_there();
  void take_importance();
  bool is_there(const std::string& name);
  void compare_merged(Verification&, const HfFolderOptions&);
  void write_merged();
  void write_model(FileType);
  bool write_adapter();
  ResumeOptions resume(const std::string& name);
  bool passes(const std::string& name, const Verification&);
  template <class Temporary>
  bool hand_over(Temporary& made, const std::string& name, const Verification&);

  const ProductSource& source_;
  const ExportSection& section_;
  const fs::path& out_;
  GgufOptions options_;
  std::optional<WeightSource> weights_;
  std::pair<ImportanceMatrix, std::vector<std::string>> importance_;
  std::optional<ProductRecords> records_;
  std::map<bool, std::optional<Check>> merge_checks_;  // by whether they are in four bits again
  std::map<std::string, Verification> there_;          // products of a run that was killed
  ProductFiles made_;
};

ProductWriter::ProductWriter(const ProductSource& source, const ExportSection& section, const std::string& name,
                             const fs::path& out)
    : source_(source), section_(section), out_(out) {
  options_ = {
      .name = name,
      .types = section.types,
      .chat_template = source.tokenizer.chat_template_replaced() ? source.tokenizer.chat_template() : std::nullopt,
      .stop_id = turn_end(source),
      .origin = to_be_verified(source.origin)};
  if (section.merged != "none" || !section.gguf.empty()) {
    weights_ = source.weights();
    weights_->before_each_read([] { throw_if_stopped(kContinues); });  // a large tensor takes a while
  }
  records_.emplace(out, made_of(source, weights_ ? &*weights_ : nullptr));
}

void ProductWriter::take_importance() {
  if (section_.gguf.empty() || section_.imatrix.empty()) return;
  const fs::path kept = records_->ingredient("imatrix.gguf");
  if (is_importance_kept(kept)) source_.say("export.imatrix: taken from what was collected before");
  importance_ = source_.importance(kept);
  options_.importance = &importance_.first;
  options_.importance_file = fs::path(section_.imatrix).filename().string();
  made_.warnings.insert(made_.warnings.end(), importance_.second.begin(), importance_.second.end());
}

// Everything is written beside what stands there before it takes its place. What a killed run has left of these very
// products stays, and needs no room again; the rest of what it left goes.
void ProductWriter::look_for_what_is_there() {
  std::map<std::string, uint64_t> wanted;
  if (section_.merged != "none")
    wanted["merged"] = hf_folder_bytes(weights_->spec(), merged_options(weights_->spec(), section_.merged));
  for (const auto& type : section_.gguf) {
    wanted[gguf_product(options_.name, file_type_named(type))] =
        gguf_model_bytes(weights_->spec(), file_type_named(type), section_.types, !section_.imatrix.empty());
  }
  if (section_.gguf_adapter != "none") wanted[kAdapterFile] = 0;
  std::vector<std::string> half_written;
  uint64_t bytes = 0;
  for (const auto& [name, size] : wanted) {
    throw_if_stopped(kContinues);
    if (auto found = records_->find(name)) {
      there_[name] = std::move(*found);
      continue;
    }
    const fs::path temporary = records_->temporary(name);
    half_written.push_back(temporary.filename().string());
    bytes += size - std::min(size, static_cast<uint64_t>(size_on_disk(temporary)));
  }
  for (const fs::path& folder : {out_, out_ / "gguf"}) remove_leftovers(folder, half_written);
  require_free_bytes(out_, bytes);
  made_.resumed.files = static_cast<int64_t>(there_.size());
  if (!there_.empty()) source_.say(fmt::format("{} of {} files are there", there_.size(), wanted.size()));
}

bool ProductWriter::passes(const std::string& name, const Verification& found) {
  if (!found.passed()) made_.rejected.push_back(name);
  for (Check check : found.checks) {
    check.name = name + ": " + check.name;
    made_.found.checks.push_back(std::move(check));
  }
  made_.found.logits.insert(found.logits.begin(), found.logits.end());
  made_.found.survivals.insert(found.survivals.begin(), found.survivals.end());
  return found.passed();
}

bool ProductWriter::is_there(const std::string& name) {
  throw_if_stopped(kContinues);
  const auto found = there_.find(name);
  return found != there_.end() && passes(name, found->second);
}

ResumeOptions ProductWriter::resume(const std::string& name) {
  ResumeOptions resume = records_->resume(name);
  resume.tell = [this, name](size_t kept, size_t tensors) {
    made_.resumed.tensors += static_cast<int64_t>(kept);
    made_.resumed.made += static_cast<int64_t>(tensors - kept);
    if (kept == tensors) return source_.say(fmt::format("{}: all {} tensors are written", name, tensors));
    if (kept > 0) source_.say(fmt::format("{}: goes on at tensor {} of {}", name, kept + 1, tensors));
  };
  return resume;
}

// The end of every product: what was found goes into its metadata and to what was found of the others, and it gets its
// name, or another one. Returns whether it has its own.
template <class Temporary>
bool ProductWriter::hand_over(Temporary& made, const std::string& name, const Verification& found) {
  stamp(made.path(), section_.verify ? verdict(found) : "not asked for");
  if (!passes(name, found)) {
    reject(made.path(), made.final_path(), IfRejected::replace);
    return false;
  }
  made_.hashes.merge(records_->add(name, made.path(), found));
  made.publish(IfExists::replace);
  return true;
}

// Merging puts an adapter that was trained on four bits on other weights: how far that is, once for every form of them.
void ProductWriter::compare_merged(Verification& found, const HfFolderOptions& options) {
  if (!source_.compare) return;
  auto& check = merge_checks_[options.nf4];
  if (!check) {
    check = source_.compare(*weights_, options);
    made_.merges.push_back(check->detail);
  }
  found.checks.push_back(*check);
}

void ProductWriter::write_merged() {
  if (!source_.served_type.empty()) made_.warnings.push_back(another_than_trained("merged", source_.served_type));
  if (is_there("merged")) return;
  HfFolderOptions options = merged_options(weights_->spec(), section_.merged);
  options.own_files = source_.own_files;
  options.origin = to_be_verified(source_.origin);
  TempFolder folder(out_ / "merged", records_->nonce("merged"));
  const KeepIfStopped<TempFolder> keep{folder};
  write_hf_folder(*weights_, weights_->spec(), source_.companions, folder.path(), options, resume("merged"));
  Verification found;
  if (section_.verify) {
    found = verify_hf_folder(folder.path(), *weights_, weights_->spec(), source_.companions, options);
    compare_merged(found, options);
    const Proof proof = proof_of(source_, *weights_, section_, weights_->spec().max_positions);
    if (found.passed() && !proof.rules.tokens.empty())
      prove_folder(found, "merged", folder.path(), proof.trained, proof.rules);
  }
  hand_over(folder, "merged", found);
}

void ProductWriter::write_model(FileType type) {
  options_.type = type;
  const std::string name = gguf_product(options_.name, type), file_name = fs::path(name).filename().string();
  if (!source_.served_type.empty() && !is_as_trained(source_, weights_->spec(), type, section_))
    made_.warnings.push_back(another_than_trained(name, source_.served_type));
  if (is_there(name)) return made_.gguf_files.push_back(file_name);
  TempFile file(out_ / name, records_->nonce(name));
  const KeepIfStopped<TempFile> keep{file};
  DeltaSurvival survival =
      write_gguf(*weights_, weights_->spec(), source_.tokenizer, file.path(), options_, resume(name));
  Verification found;
  if (section_.verify) {
    found = verify_gguf(file.path(), *weights_, weights_->spec(), source_.tokenizer, options_);
    Proof proof = proof_of(source_, *weights_, section_, gguf_context(weights_->spec()));
    proof.trained.logit_weights = source_.served_weights;
    proof.trained.logit_weights_type = source_.served_type;
    if (!source_.served_types.empty())
      proof.trained.logit_weights = as_served(reader_of(*weights_), source_.served_types);
    compare_merged(found, {.type = GgmlType::F32});
    if (found.passed()) prove_gguf(found, name, file.path(), proof.trained, proof.rules);
  }
  if (!survival.tensors.empty()) found.survivals.emplace(name, std::move(survival));
  if (hand_over(file, name, found)) made_.gguf_files.push_back(file_name);
}

// The adapter's bytes must not bear the run's name; `export.name` is the user's own word. It is small: a killed one
// begins again.
bool ProductWriter::write_adapter() {
  if (is_there(kAdapterFile)) return true;
  const GgufAdapterOptions options{.type = find_ggml_type_name(section_.gguf_adapter)->type,
                                   .name = section_.name.empty() ? "adapter" : section_.name,
                                   .origin = to_be_verified(source_.origin)};
  TempFile file(out_ / kAdapterFile);
  write_gguf_adapter(source_.adapter, source_.adapted, file.path(), options);
  Verification found;
  if (section_.verify) found = verify_gguf_adapter(file.path(), source_.adapter, source_.adapted, options);
  return hand_over(file, kAdapterFile, found);
}

ProductFiles ProductWriter::make() {
  if (source_.compare && !section_.verify && weights_) {
    made_.warnings.push_back(
        "the adapter was trained on four bits and is merged with other weights, and how far that is from what was "
        "trained was not asked (export.verify=false)");
  }
  look_for_what_is_there();
  take_importance();
  if (section_.merged != "none") write_merged();
  for (const auto& type : section_.gguf) write_model(file_type_named(type));
  if (section_.gguf_adapter != "none") made_.gguf_adapter = write_adapter();
  return std::move(made_);
}

}  // namespace

int64_t size_on_disk(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::exists(path) ? static_cast<int64_t>(fs::file_size(path)) : 0;
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

ProductFiles make_product_files(const ProductSource& source, const ExportSection& section, const std::string& name,
                                const fs::path& out) {
  return ProductWriter(source, section, name, out).make();
}

}  // namespace prentice

#include "artifact/open.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapter/peft.h"
#include "adapter/qat.h"
#include "adapter/vocabulary.h"
#include "artifact/score_head.h"
#include "core/error.h"
#include "core/meta_memory.h"
#include "export/gguf_model.h"
#include "export/hf_folder.h"
#include "io/file.h"
#include "model/make.h"
#include "model/stored_nf4.h"

namespace prentice {

namespace {

// What to do about a tokenizer that makes ids the model has no row for.
std::string smaller_tokenizer_hint(const Artifact& artifact) {
  if (artifact.tokenizer == artifact.adapter) return "model.tokenizer=" + artifact.base.string() + " takes the base's";
  if (artifact.tokenizer != artifact.base)
    return "it is another model's: leave model.tokenizer out, or name the model's own";
  return "the folder's tokenizer is another model's, or tokens were added to it: put its own back; model.add_tokens "
         "adds "
         "tokens with their rows";
}

// The blocks of the file are made of the base's own values.
void require_unrounded(const Opened& opened) {
  const auto& [machine, artifact, spec, tokenizer, random, quantize] = opened;
  const GgmlType own = own_type(spec);
  const bool same = machine.dtype == at::kFloat || (machine.dtype == at::kBFloat16 && own == GgmlType::BF16) ||
                    (machine.dtype == at::kHalf && own == GgmlType::F16);
  const std::string trained = fmt::format(
      "{}: trained for its {} file (adapter.qat), whose blocks are made of the "
      "base's {} weights",
      artifact.address, artifact.served_type, ggml_type_info(own).name);
  if (!same) fail(ExitCode::usage, "run.precision: " + trained, "run.precision=f32");
  if (quantize != Quantize::none) fail(ExitCode::usage, "model.quantize: " + trained, "remove the key");
}

}  // namespace

Tokenizer open_tokenizer(const Artifact& artifact, const ModelSpec& spec, const std::vector<AddedToken>& more) {
  if (artifact.tokenizer.empty()) {
    fail(ExitCode::usage, artifact.address + ": these are shapes without a tokenizer", "model.tokenizer=FOLDER");
  }
  Tokenizer tokenizer = Tokenizer::load(artifact.tokenizer, more);
  if (tokenizer.vocab_size() > spec.vocab) {
    fail(ExitCode::model,
         fmt::format("{}: the tokenizer has {} ids, the model's embedding {} rows", artifact.tokenizer.string(),
                     tokenizer.vocab_size(), spec.vocab),
         smaller_tokenizer_hint(artifact));
  }
  if (!artifact.chat_template.empty()) {
    tokenizer.replace_chat_template(read_text_file(artifact.chat_template), artifact.chat_template);
  }
  return tokenizer;
}

ModelShape open_shape(const ModelSection& section, std::string_view key) {
  Artifact artifact = resolve_model(section, key);
  ModelSpec spec = artifact.has_weights() ? read_spec(artifact.base) : read_spec(artifact_config(artifact));
  if (!artifact.adapter.empty()) spec = with_adapter_shape(std::move(spec), artifact.adapter);
  return {.artifact = std::move(artifact), .spec = std::move(spec)};
}

Opened open_model(ModelShape shape, const ModelSection& section, const Machine& machine) {
  Tokenizer tokenizer = open_tokenizer(shape.artifact, shape.spec);
  // A score head that came with an adapter: the base says nothing of padding for it.
  if (shape.spec.labels > 0 && !shape.artifact.adapter.empty()) shape.spec = with_padding(shape.spec, tokenizer);
  const Quantize quantize = quantize_of(section, shape.spec);
  return {.machine = machine,
          .artifact = std::move(shape.artifact),
          .spec = std::move(shape.spec),
          .tokenizer = std::move(tokenizer),
          .random = section.init == "random",
          .quantize = quantize};
}

Opened open_model(const ModelSection& section, const Machine& machine, std::string_view key) {
  return open_model(open_shape(section, key), section, machine);
}

void require_weights(const std::string& key, const Artifact& artifact, const std::string& hint) {
  if (artifact.has_weights()) return;
  fail(ExitCode::usage, key + ": " + artifact.address + ": these are shapes without weights", hint);
}

Model load_weights(const Opened& opened, uint64_t seed, HostEnds host_ends) {
  const LoadOptions options{.dtype = opened.machine.dtype,
                            .device = opened.machine.device,
                            .quantize = opened.quantize,
                            .host_ends = host_ends};
  if (!opened.random) require_weights("model.path", opened.artifact, kMakesWeights);
  Model model = opened.random ? random_model(opened.spec, seed, options)
                              : load_model(opened.artifact.base, options, opened.spec, seed);
  if (!opened.artifact.adapter.empty()) load_peft(model, opened.artifact.adapter);
  if (opened.artifact.served_type.empty()) return model;
  require_unrounded(opened);
  train_as_served(model, served_by(opened.artifact, opened.spec));
  return model;
}

ServedTypes served_by(const Artifact& artifact, const ModelSpec& spec) {
  if (artifact.served_type.empty()) return {};
  return served_types(spec, file_type_named(artifact.served_type), artifact.served_types);
}

Quantize quantize_of(const ModelSection& section, const ModelSpec& spec) {
  if (section.quantize == "none") return section.init == "random" ? Quantize::none : stored_quantize(spec);
  return section.quantize == "nf4" ? Quantize::nf4 : Quantize::nf4_single;
}

int64_t held_bytes(const ModelSpec& spec, c10::ScalarType dtype, Quantize quantize) {
  const int64_t before = MetaMemory::live();
  const Model model = make_model(spec, {.dtype = dtype, .device = c10::kMeta, .quantize = quantize});
  return MetaMemory::live() - before;
}

}  // namespace prentice

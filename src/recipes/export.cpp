// The kind `export`: an artifact to PEFT, merged Hugging Face folder and GGUF, tensor by tensor. Its proof and
// self-test run it layer by layer; a whole model is loaded only where export.imatrix is data to run it on.
#include <fmt/format.h>

#include "artifact/describe_run.h"
#include "artifact/licences.h"
#include "artifact/new_tokens.h"
#include "artifact/open.h"
#include "artifact/stop_tokens.h"
#include "core/error.h"
#include "export/weight_source.h"
#include "io/gguf.h"
#include "io/publish.h"
#include "io/safetensors.h"
#include "pages/console.h"
#include "plan/model_checks.h"
#include "products/calibration.h"
#include "products/product_records.h"
#include "products/products.h"
#include "products/proof_tokens.h"
#include "products/selftest.h"
#include "proof/adapter_proof.h"
#include "proof/four_bits_reader.h"
#include "proof/merge_difference.h"
#include "proof/served_reader.h"
#include "recipes/programs.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// A PEFT folder goes along byte for byte, with the tokenizer it came with: what was trained is what is handed over.
void copy_adapter(const fs::path& from, const fs::path& to) {
  TempFolder folder(to);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    fs::copy_file(from / name, folder.path() / name);
  }
  if (has_tokenizer(from)) write_companions(from, {}, folder.path());
  folder.publish(IfExists::replace);
}

// The model is gone again before the first tensor is written.
std::pair<ImportanceMatrix, std::vector<std::string>> importance_of(const Opened& opened, const ExportRecipe& recipe,
                                                                    const fs::path& kept) {
  return importance_for_export(
      recipe.exports.imatrix, kept, nullptr,
      [&](const DataSection& data) {
        return load_calibration(data, opened.tokenizer, opened.spec, opened.machine.threads);
      },
      [&](const Calibration& calibration) {
        const Model model = load_weights(opened, static_cast<uint64_t>(recipe.run.seed));
        return collect_importance(model, calibration, [](int64_t, int64_t) { throw_if_stopped(kContinues); });
      });
}

// Of an adapter that a run trained on its base in four bits, which is merged with the base's own weights here.
std::function<Check(const WeightSource&, const HfFolderOptions&)> comparison_of(const Opened& opened) {
  const Artifact& artifact = opened.artifact;
  if (artifact.trained_in.empty() || artifact.adapter.empty() || opened.spec.labels > 0) return {};
  const Quantize quantize = artifact.trained_in == "nf4" ? Quantize::nf4 : Quantize::nf4_single;
  return [&opened, quantize](const WeightSource& merged, const HfFolderOptions& options) {
    const Artifact& artifact = opened.artifact;
    const auto trained = adapted_reader(artifact.base, artifact.adapter, opened.spec, quantize);
    const auto own = options.nf4 ? in_four_bits(reader_of(merged), Quantize::nf4) : reader_of(merged);
    const auto batches = proof_batches({}, opened.tokenizer, opened.spec.max_positions, opened.machine.device);
    return merge_check(merge_difference(trained, own, batches, [] { throw_if_stopped(kContinues); }), kBaseOwnWeights);
  };
}

// What the exported model answers, for whoever receives it.
SelfTest self_test_of(const Opened& opened, const std::vector<int32_t>& stop_ids) {
  const Artifact& artifact = opened.artifact;
  const auto make = [&](const WeightReader& model) {
    return make_self_test(model, opened.tokenizer, stop_ids, opened.machine.device,
                          [] { throw_if_stopped(kContinues); });
  };
  if (!artifact.served_type.empty()) {  // what adapter.qat trained is the file's rounding of the merged weights
    const auto weights = WeightSource::from_folder(opened.spec, artifact.base, artifact.adapter);
    return make(as_served(reader_of(weights), served_by(artifact, weights.spec())));
  }
  if (is_gguf_file(artifact.base) && !artifact.adapter.empty())
    return make(adapted_reader(artifact.base, artifact.adapter, opened.spec));
  const auto weights = WeightSource::from_folder(opened.spec, artifact.base, artifact.adapter);
  return make(reader_of(weights));
}

}  // namespace

int run_program(ExportRecipe recipe, const Invocation& invocation) {
  const Opened opened = open_recipe(recipe);
  const Artifact& artifact = opened.artifact;
  const ModelSpec& spec = opened.spec;
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  if (folder.begin(describe_run(recipe, artifact, *recipe.run.device, invocation)) == RunState::finished) {
    return already_done(folder.path(), invocation);
  }
  if (recipe.exports.peft && !artifact.adapter.empty()) copy_adapter(artifact.adapter, folder.path() / "adapter");
  throw_if_stopped();
  const ModelSpec alone = decoder_alone(spec);
  const auto stop_ids = stop_token_ids(artifact, spec, opened.tokenizer);
  const bool answers = recipe.exports.verify && spec.labels == 0;
  const Products products = write_products(
      {.spec = alone,
       .tokenizer = opened.tokenizer,
       .compare = comparison_of(opened),
       .weights = [&] { return WeightSource::from_folder(spec, artifact.base, artifact.adapter); },
       .importance = [&](const fs::path& kept) { return importance_of(opened, recipe, kept); },
       .proof_tokens =
           [&](int64_t context) { return proof_batches({}, opened.tokenizer, context, opened.machine.device); },
       .served_type = artifact.served_type,
       .served_types = served_by(artifact, alone),
       .companions = artifact.tokenizer,
       .own_files = own_files(artifact, spec, opened.tokenizer),
       .adapter = artifact.adapter,
       .adapted = spec,
       .base_model = artifact.base_name.empty() ? artifact.address : artifact.base_name,
       .base_file = is_gguf_file(artifact.base) ? artifact.base : fs::path(),
       .licences = licences_of(artifact),
       .origin = folder.origin(),
       .stop_ids = stop_ids,
       .max_length = spec.max_positions,
       .self_test = [&] { return answers ? self_test_of(opened, stop_ids) : SelfTest(); },
       .say = say_on_stderr(invocation)},
      recipe.exports, folder.path());
  write_checksums(folder.path(), products.hashes);
  folder.finish();
  forget_products(folder.path());
  print_products(products, folder.path(), invocation);
  return 0;
}

}  // namespace prentice

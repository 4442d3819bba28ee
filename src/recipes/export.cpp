// The kind `export`: an artifact to PEFT, merged Hugging Face folder and GGUF, tensor by tensor: no model is loaded.
#include <fmt/format.h>

#include "config/read.h"
#include "core/error.h"
#include "export/gguf_adapter.h"
#include "export/weight_source.h"
#include "io/publish.h"
#include "io/safetensors.h"
#include "recipes/console.h"
#include "recipes/expressions.h"
#include "recipes/inputs.h"
#include "recipes/kinds.h"
#include "recipes/prepare.h"
#include "recipes/products.h"
#include "recipes/stopping.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// A PEFT folder goes along byte for byte: what was trained is what is handed over.
void copy_adapter(const fs::path& from, const fs::path& to) {
  TempFolder folder(to);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"}) {
    fs::copy_file(from / name, folder.path() / name);
  }
  folder.publish(IfExists::replace);
}

}  // namespace

int run_program(ExportRecipe recipe, const Invocation& invocation) {
  const Machine machine = decide_machine(recipe.run);
  apply_machine(machine, recipe.run.deterministic);
  const Artifact artifact = resolve_model(recipe.model);
  const ModelSpec spec = open_spec(artifact);
  check_expressions(recipe);
  check_tensor_types(recipe.exports, recipe, spec);
  const Tokenizer tokenizer = open_tokenizer(artifact, spec);
  if (!artifact.has_weights()) fail(ExitCode::usage, artifact.address + ": these are shapes without weights");
  const bool writes_adapter = recipe.exports.peft && !artifact.adapter.empty();
  const bool as_gguf = recipe.exports.gguf_adapter != "none";
  if (as_gguf && artifact.adapter.empty()) {
    fail(ExitCode::usage, "export.gguf_adapter: " + artifact.address + " has no adapter",
         "name one: model.path=BASE+ADAPTER, or export.gguf=[F16] for the model itself");
  }
  if (as_gguf) check_gguf_adapter(artifact.adapter, spec);
  if (!writes_adapter && !as_gguf && recipe.exports.merged == "none" && recipe.exports.gguf.empty()) {
    fail(ExitCode::usage,
         "export: nothing is asked for" + std::string(artifact.adapter.empty() ? ", and the model has no adapter" : ""),
         "export.merged=bf16 or export.gguf=[F16], for instance");
  }
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  RunDescription description{.kind = "export",
                             .command = invocation.command,
                             .device = "cpu",
                             .recipe = to_yaml(to_node(recipe)),
                             .seed = recipe.run.seed,
                             .threads = *recipe.run.threads,
                             .inputs = inputs_of(recipe, artifact),
                             .parents = {artifact.address},
                             .pipeline = invocation.pipeline};
  if (folder.begin(description) == RunState::finished) {
    return already_done(folder.path(), invocation);
  }
  if (writes_adapter) copy_adapter(artifact.adapter, folder.path() / "adapter");
  throw_if_stopped();
  const ModelSpec alone = decoder_alone(spec);
  const Products products =
      write_products({.spec = alone,
                      .tokenizer = tokenizer,
                      .weights = [&] { return WeightSource::from_folder(spec, artifact.base, artifact.adapter); },
                      .companions = artifact.tokenizer,
                      .adapter = artifact.adapter,
                      .adapted = spec,
                      .base_model = artifact.address,
                      .stop_ids = stop_token_ids(artifact, spec, tokenizer),
                      .max_length = spec.max_positions},
                     recipe.exports, folder.path());
  write_checksums(folder.path());
  folder.finish();
  print_products(products, folder.path(), invocation);
  return 0;
}

}  // namespace prentice

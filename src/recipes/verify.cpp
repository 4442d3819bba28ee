// The kind `verify`: a GGUF file, a merged folder or an adapter, whoever wrote it, against the model that it was made
// of; verify.json, and what differs is renamed and refused.
#include <fmt/format.h>

#include <algorithm>

#include "artifact/describe_run.h"
#include "artifact/stop_tokens.h"
#include "export/gguf_features.h"
#include "io/publish.h"
#include "pages/console.h"
#include "plan/model_checks.h"
#include "products/products.h"
#include "products/proof_tokens.h"
#include "proof/adapter_proof.h"
#include "proof/artifact_reading.h"
#include "proof/peft_proof.h"
#include "proof/served_reader.h"
#include "proof/verify_artifact.h"
#include "recipes/programs.h"
#include "recipes/scoring.h"
#include "recipes/verify_end.h"
#include "recipes/verify_sides.h"
#include "run/progress.h"
#include "run/run_folder.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

struct Prepared {
  Opened opened;  // the model
  Artifact artifact;
  fs::path file, named;  // recipes/verify_sides.h
  std::optional<DataSet> rows;
  ArtifactKind kind;
  CallWitness witness;
};

Prepared prepare(VerifyRecipe& recipe) {
  RecipeMistakes mistakes;
  check_expressions(recipe, mistakes);
  mistakes.throw_if_any();
  const Machine machine = decide_machine(recipe.run);
  apply_machine(machine, recipe.run.deterministic);
  VerifySides sides = open_verify_sides(recipe.verify);
  Prepared made{.opened = open_model(std::move(sides.model), {.path = recipe.verify.model}, machine),
                .artifact = std::move(sides.artifact),
                .file = std::move(sides.file),
                .named = std::move(sides.named),
                .kind = sides.kind};
  made.witness = open_witness(recipe.verify, made.opened, made.kind);
  if (!recipe.verify.tokens) recipe.verify.tokens = machine.device.is_cuda() ? kProofTokensGpu : kProofTokensCpu;
  if (!recipe.data.eval.empty()) made.rows = load_rows_to_score(made.opened, recipe.data);
  if (made.rows && !recipe.data.max_length) recipe.data.max_length = made.rows->encoded.longest;
  return made;
}

ProofRules proof_rules(const VerifyRecipe& recipe, const Prepared& side, int64_t context, ProgressPrinter& printer) {
  const auto rows = side.rows ? std::span<const Sequence>(side.rows->encoded.sequences) : std::span<const Sequence>();
  return {
      .tokens = proof_batches(rows, side.opened.tokenizer, context, *recipe.verify.tokens, side.opened.machine.device),
      .texts = side.rows ? texts_of(*side.rows) : std::vector<std::string>(),
      .limits = recipe.verify.limits,
      .threads = side.opened.machine.threads,
      .before_layer = [] { throw_if_stopped(); },
      .say = [&](const std::string& what) { printer.show("verify " + what); },
      .witness = side.witness};
}

Verification verify_sides(const VerifyRecipe& recipe, const Prepared& side, const Invocation& invocation) {
  const Opened& opened = side.opened;
  const auto stops = stop_token_ids(opened.artifact, opened.spec, opened.tokenizer);
  ProgressPrinter printer(invocation.quiet || invocation.json);
  const auto rules = [&](int64_t context) { return proof_rules(recipe, side, context, printer); };
  const TrainedAdapter adapter{.base = opened.artifact.base,
                               .adapter = opened.artifact.adapter,
                               .spec = opened.spec,
                               .tokenizer = opened.tokenizer,
                               .stop_ids = stops};
  if (side.kind == ArtifactKind::gguf_adapter)
    return verify_adapter_artifact(side.file, adapter, rules(gguf_context(opened.spec)));
  if (side.kind == ArtifactKind::peft)
    return verify_peft_artifact(side.file, own_tokenizer(side.file), adapter, rules(opened.spec.max_positions));
  const auto weights = WeightSource::from_folder(opened.spec, opened.artifact.base, opened.artifact.adapter);
  std::optional<WeightSource> untrained;
  if (!opened.artifact.adapter.empty())
    untrained = WeightSource::from_folder(read_spec(opened.artifact.base), opened.artifact.base);
  Trained trained{.weights = weights,
                  .tokenizer = opened.tokenizer,
                  .stop_ids = stops,
                  .base = opened.artifact.base,
                  .base_weights = untrained ? &*untrained : nullptr};
  if (const auto served = served_by(opened.artifact, weights.spec()); !served.empty()) {
    trained.logit_weights = as_served(reader_of(weights), served);
    trained.logit_weights_type = opened.artifact.served_type;
  }
  if (side.kind == ArtifactKind::gguf)
    return verify_gguf_artifact(side.file, trained, rules(gguf_context(weights.spec())));
  const auto own_stops = reading_artifact([&] {
    return stop_token_ids(side.artifact, read_spec(side.artifact.base), Tokenizer::load(side.artifact.base));
  });
  return verify_folder_artifact(side.file, own_stops, trained, rules(weights.spec().max_positions));
}

// Of an artifact that cannot be read, why that is so is what verification found.
Verification verify_what_is_there(const VerifyRecipe& recipe, const Prepared& side, const Invocation& invocation) {
  try {
    Verification found = verify_sides(recipe, side, invocation);
    found.add(origin_checks(side.file, side.opened.artifact, invocation));
    return found;
  } catch (const UnreadableArtifact& error) {
    return {.checks = {equal_check("readable", false, error.detail())}};
  }
}

}  // namespace

int run_program(VerifyRecipe recipe, const Invocation& invocation) {
  const Prepared side = prepare(recipe);
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  const fs::path& out = folder.path();
  const auto description = describe_run(recipe, side.opened.artifact, *recipe.run.device, invocation);
  const bool finished = folder.begin(description) == RunState::finished;
  if (auto failed = finished ? reported_failures(out) : std::nullopt)
    return end_again(out, side.named, std::move(*failed), origin_checks(side.file, side.opened.artifact, invocation),
                     invocation);
  const Verification found = verify_what_is_there(recipe, side, invocation);
  publish_file(out / "verify.json", verification_json(found));
  write_checksums(out);
  if (!finished) folder.finish();
  if (!invocation.json && !invocation.inner) {
    print_checks(found.checks);
    fmt::print("{}\n", (out / "verify.json").string());
  }
  const int code = found.passed() ? 0 : refuse_artifact(side.named, failures(found));
  if (invocation.json) fmt::print("{}\n", report_of(found).dump());  // behind what may fail, which has an object, too
  return code;
}

}  // namespace prentice

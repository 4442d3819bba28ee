// What a file answers beside the model: the last part of a proof.
#include <fmt/format.h>

#include <algorithm>

#include "export/artifact_parts.h"
#include "export/artifact_reading.h"
#include "model/model.h"

namespace prentice {

namespace {

// llama.cpp multiplies in the type that goes with the stored one, eight bits with blocks, and its cache has sixteen:
// what it computes of finer files is held to the limits of this one, which are of figures that llama.cpp has measured.
constexpr const char* kEightBits = "Q8_0";

std::string witness_type(const LogitSides& sides) {
  return coarser_type(sides.witness_type.empty() ? sides.type : sides.witness_type, kEightBits);
}

// How far a server's answers may be from one side's, whose weights `type` and `kld` stand between.
Tolerance answer_tolerance(const LogitSides& sides, std::optional<std::string> type, std::optional<double> kld,
                           const ProofRules& rules) {
  const std::string stored = sides.witness_type.empty() ? sides.type : sides.witness_type;
  const bool halves = stored == "F32" || stored == "F16";
  return tolerance_of({.name = "",
                       .type = std::move(type),
                       .kld = kld,
                       .computed_in = halves             ? "F16"
                                      : stored == "BF16" ? "BF16"
                                                         : kEightBits,
                       .own = "F32",
                       .parameters = parameter_count(sides.model.spec),
                       .limits = rules.limits});
}

}  // namespace

void append(Verification& result, std::vector<Check> checks) {
  for (auto& check : checks) result.checks.push_back(std::move(check));
}

bool added(Verification& result, std::vector<Check> checks) {
  const bool passed = std::ranges::all_of(checks, &Check::passed);
  append(result, std::move(checks));
  return passed;
}

std::vector<Check> with_update(std::vector<Check> checks, const UpdateProof& update) {
  for (auto& check : update.checks()) checks.push_back(std::move(check));
  return checks;
}

LogitSides sides_of(const Trained& trained, const WeightReader& made, const std::string& type,
                    const std::string& declared) {
  const bool as_trained = trained.logit_weights && declared == trained.logit_weights_type;
  WeightReader guarded{made.spec, [made](const std::string& name, const Tensor& values) {
                         reading_artifact([&] { made.read(name, values); });
                       }};
  if (made.read_rows) {
    guarded.read_rows = [made](const std::string& name, int64_t first, const Tensor& rows) {
      reading_artifact([&] { made.read_rows(name, first, rows); });
    };
  }
  return {.model = as_trained ? *trained.logit_weights : reader_of(trained.weights),
          .made = std::move(guarded),
          .stop_ids = trained.stop_ids,
          .type = type};
}

void add_logits(Verification& result, const std::string& artifact, const LogitSides& sides, const ProofRules& rules) {
  if (rules.tokens.empty()) return;
  rules.say("logits");
  const auto bound = [&](const std::string& type) {
    return logit_bound(type, parameter_count(sides.model.spec), rules.limits);
  };
  if (sides.witness && sides.witness->answers) {
    const auto [own, answers] =
        prove_logits_by_answers(sides.model, sides.made, sides.witness->answers, sides.witness->context, rules.tokens,
                                sides.stop_ids, rules.before_layer);
    append(result, logit_checks(own, bound(sides.type)));
    const Tolerance from_artifact = answer_tolerance(sides, std::nullopt, std::nullopt, rules);
    Tolerance from_model = answer_tolerance(sides, sides.type, own.kld_mean, rules);
    // Coarse blocks are off by more here and there, as our own pass of the same file has measured.
    if (const double most = own.largest + from_artifact.log_prob; most > from_model.log_prob) {
      from_model = {.log_prob = most,
                    .basis = fmt::format("{}; {:.2g} by which our own forward pass of the file differs at most",
                                         from_artifact.basis, own.largest)};
    }
    append(result, witness_answer_checks(answers, from_model, from_artifact));
    result.logits.emplace(artifact, own);
    return;
  }
  WitnessedProof found;
  if (sides.witness) {
    found = prove_logits_twice(sides.model, sides.made, sides.witness->logits, rules.tokens, sides.stop_ids,
                               rules.before_layer);
  } else {
    found.own = prove_logits(sides.model, sides.made, rules.tokens, sides.stop_ids, rules.before_layer);
  }
  append(result, logit_checks(found.own, bound(sides.type)));
  result.logits.emplace(artifact, found.own);
  if (!sides.witness) return;
  append(result, witness_logit_checks(found.witness, bound(witness_type(sides)), bound(kEightBits)));
  if (found.witness.fault.empty()) result.logits.emplace(artifact + " in llama.cpp", found.witness.of_model);
}

}  // namespace prentice

// What a file answers beside the model: the last part of a proof.
#include <fmt/format.h>

#include <algorithm>

#include "model/model.h"
#include "proof/artifact_parts.h"
#include "proof/artifact_reading.h"

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

std::vector<Check> with_update(std::vector<Check> checks, const UpdateProof& update) {
  for (auto& check : update.checks()) checks.push_back(std::move(check));
  return checks;
}

LogitSides sides_of(const Trained& trained, const WeightReader& made, const std::string& type,
                    const std::string& declared) {
  const bool as_trained = trained.logit_weights && declared == trained.logit_weights_type;
  WeightReader guarded{made.spec, [made](const std::string& name, int64_t first, const Tensor& rows) {
                         reading_artifact([&] { made.read(name, first, rows); });
                       }};
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
  const SideBySide pair(sides.model, sides.made, rules.tokens, rules.before_layer);
  const LogitProof own = pair.compare(sides.stop_ids);
  result.add(logit_checks(own, bound(sides.type)));
  result.logits.emplace(artifact, own);
  if (!sides.witness) return;
  if (sides.witness->answers) {
    const AnswerProof answers = ask(sides.witness->answers, sides.witness->context, pair, rules.tokens);
    const Tolerance from_artifact = answer_tolerance(sides, std::nullopt, std::nullopt, rules);
    Tolerance from_model = answer_tolerance(sides, sides.type, own.kld_mean, rules);
    // Coarse blocks are off by more here and there, as our own pass of the same file has measured.
    if (const double most = own.largest + from_artifact.log_prob; most > from_model.log_prob) {
      from_model = {.log_prob = most,
                    .basis = fmt::format("{}; {:.2g} by which our own forward pass of the file differs at most",
                                         from_artifact.basis, own.largest)};
    }
    result.add(witness_answer_checks(answers, from_model, from_artifact));
    return;
  }
  const WitnessProof heard = hear(sides.witness->logits, pair, rules.tokens, sides.stop_ids, rules.before_layer);
  result.add(witness_logit_checks(heard, bound(witness_type(sides)), bound(kEightBits)));
  if (heard.fault.empty()) result.logits.emplace(artifact + " in llama.cpp", heard.of_model);
}

}  // namespace prentice

#include "proof/witness.h"

#include <fmt/format.h>

namespace prentice {

namespace {

constexpr const char* kName = "llama.cpp: ";

}  // namespace

std::vector<Check> witness_text_checks(Witness& witness, int64_t vocab, const Tokenizer& model,
                                       const TextRules& rules) {
  std::string& why = witness.refusal;
  if (why.empty() && witness.vocab && *witness.vocab != vocab)
    why = fmt::format("it finds {} ids, and the model has {}", *witness.vocab, vocab);
  std::vector<Check> checks = {equal_check("reads the file", why.empty(), why)};
  if (why.empty()) {
    for (auto& check : id_checks(model, witness.ids, rules)) checks.push_back(std::move(check));
  }
  for (auto& check : checks) check.name = kName + check.name;
  return checks;
}

std::vector<Check> witness_logit_checks(const WitnessProof& found, const LogitBound& bound, const LogitBound& apart) {
  if (!found.fault.empty()) return {equal_check(std::string(kName) + "runs the file", false, found.fault)};
  auto checks = logit_checks(found.of_model, bound);
  const LogitProof& other = found.of_artifact;
  checks.push_back(at_most_check(
      "agreement", other.kld_mean, apart.kld,
      fmt::format("mean KL in nats from our own forward pass of the file; 99 % are below {:.2g}; another likeliest id "
                  "at {} of {} tokens where ours leads by {}",
                  other.kld_p99, found.decided_otherwise, found.decided, kDecided)));
  for (auto& check : checks) check.name = kName + check.name;
  return checks;
}

std::vector<Check> witness_answer_checks(const AnswerProof& found, const Tolerance& from_model,
                                         const Tolerance& from_artifact) {
  if (found.strange) {
    return {equal_check(std::string(kName) + "runs the file", false,
                        fmt::format("it answers with id {}, which the model does not have", *found.strange))};
  }
  if (found.answered == 0) {
    return {equal_check(std::string(kName) + "runs the file", false,
                        fmt::format("of {} prompts it shows log-probabilities behind none", found.asked))};
  }
  const auto check_of = [&](const AnswerDifference& apart, const Tolerance& tolerance, const char* name,
                            const char* what) {
    return at_most_check(
        name, apart.log_prob, tolerance.log_prob,
        fmt::format("largest difference in nats from {}, of the {} likeliest ids behind {} prompts; limit: {}", what,
                    kComparedIds, found.answered, tolerance.basis));
  };
  const AnswerDifference& file = found.from_artifact;
  const double most = 2 * from_artifact.log_prob;  // closer than that, rounding decides
  std::vector<Check> checks = {
      at_most_check("greedy tokens", file.margin, most,
                    fmt::format("nats by which our own forward pass prefers its likeliest id to the one that is "
                                "decoded, at most; they differ behind {} of {} prompts",
                                file.otherwise, found.answered)),
      check_of(found.from_model, from_model, "log-probabilities", "the model"),
      check_of(file, from_artifact, "agreement", "our own forward pass of the file")};
  for (auto& check : checks) check.name = kName + check.name;
  return checks;
}

}  // namespace prentice

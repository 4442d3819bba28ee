#include "export/witness.h"

#include <fmt/format.h>

namespace prentice {

namespace {

constexpr const char* kName = "llama.cpp: ";

}  // namespace

std::vector<Check> witness_text_checks(Witness& witness, int64_t vocab, const Tokenizer& model,
                                       const TextRules& rules) {
  std::string& why = witness.refusal;
  if (why.empty() && witness.vocab != vocab)
    why = fmt::format("it finds {} ids, and the model has {}", witness.vocab, vocab);
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
  checks.push_back({.name = "agreement",
                    .passed = other.kld_mean <= apart.kld,
                    .value = other.kld_mean,
                    .limit = apart.kld,
                    .detail = fmt::format("mean KL in nats from our own forward pass of the file; 99 % are below "
                                          "{:.2g}; another likeliest id at {} of {} tokens where ours leads by {}",
                                          other.kld_p99, found.decided_otherwise, found.decided, kDecided)});
  for (auto& check : checks) check.name = kName + check.name;
  return checks;
}

}  // namespace prentice

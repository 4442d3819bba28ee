// Another program that reads the same GGUF file: what it makes of texts and of token ids, so that a mistake which our
// own readers share with our writers is seen by somebody.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proof/check.h"
#include "proof/logit_limits.h"
#include "proof/serving_tolerance.h"
#include "proof/token_proof.h"
#include "proof/witness_proof.h"
#include "text/tokenizer.h"

namespace prentice {

// With one file.
struct Witness {
  std::string refusal;           // why it does not take the file; "" = it does, and the rest is there
  std::optional<int64_t> vocab;  // ids that it knows, where it tells
  EncodeTexts ids;               // as it reads a prompt: special tokens recognised, its own added
  // What it computes, one of the two: all of it, or what it shows of single positions behind at most `context` ids.
  ForeignLogits logits;
  ForeignAnswers answers;
  int64_t context = std::numeric_limits<int64_t>::max();
};

// `adapter`: a GGUF adapter to put on the file; empty = none.
using CallWitness = std::function<Witness(const std::filesystem::path& file, const std::filesystem::path& adapter)>;

// Whether it takes the file as a model of `vocab` ids (what it does not is a refusal from then on), and the token ids.
std::vector<Check> witness_text_checks(Witness&, int64_t vocab, const Tokenizer& model, const TextRules&);
// Its log-probabilities against what was trained, and, within `apart`, against our own forward pass of the file.
std::vector<Check> witness_logit_checks(const WitnessProof&, const LogitBound&, const LogitBound& apart);
// The greedy tokens and log-probabilities that it shows. `from_model`, `from_artifact`: how far the latter may be from
// what was trained, and from our own forward pass of the file.
std::vector<Check> witness_answer_checks(const AnswerProof&, const Tolerance& from_model,
                                         const Tolerance& from_artifact);

}  // namespace prentice

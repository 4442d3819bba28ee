// What another program makes of the tokens of a proof, against the model and against our own forward pass of the file
// that it runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "proof/logit_proof.h"

namespace prentice {

// Logits that another program makes after every id of a sequence: calls `use` with rows [n, V] f32 on the CPU, which
// live until it returns, and the position of the first of them, in order. Returns what went wrong; "" = nothing.
using UseRows = std::function<void(int64_t first, const Tensor& rows)>;
using ForeignLogits = std::function<std::string(std::span<const int64_t> ids, const UseRows& use)>;

struct WitnessProof {
  LogitProof of_model;     // its logits against the model's
  LogitProof of_artifact;  // and against our own forward pass of the artifact
  // Of positions where our own pass prefers its likeliest id to the next by more than kDecided nats: those where the
  // other program's likeliest id is another.
  int64_t decided = 0, decided_otherwise = 0;
  std::string fault;  // what went wrong; then the rest is not whole
};
inline constexpr double kDecided = 0.3;

// What another program finds likeliest behind ids: what greedy decoding takes, and the log-probabilities of some ids,
// the likeliest first. nullopt: it shows nothing there.
struct ForeignAnswer {
  int64_t greedy = -1;
  std::vector<std::pair<int64_t, double>> likeliest;
};
using ForeignAnswers = std::function<std::optional<ForeignAnswer>(std::span<const int64_t> ids)>;

// One side against such answers.
struct AnswerDifference {
  double log_prob = 0;  // largest, of the kComparedIds ids that either finds likeliest; an id that is not shown counts
                        // as the least likely one that is
  int64_t otherwise = 0;  // positions where greedy decoding takes another id
  double margin = 0;      // by how much, at most, this side prefers its own there; nats
};
struct AnswerProof {
  int64_t asked = 0, answered = 0;  // positions
  std::optional<int64_t> strange;   // an id in an answer that the model does not have: then the rest is not whole
  AnswerDifference from_model, from_artifact;
};
inline constexpr int64_t kComparedIds = 5, kAskedPositions = 48;

// `batches`: those of `sides`; `before_sequence` may throw. Errors, of both: those of SideBySide.
WitnessProof hear(const ForeignLogits&, const SideBySide& sides, const std::vector<Batch>& batches,
                  const std::vector<int32_t>& stop_ids, const std::function<void()>& before_sequence);
// Asks of kAskedPositions positions, spread over all whose ids are at most `context`.
AnswerProof ask(const ForeignAnswers&, int64_t context, const SideBySide& sides, const std::vector<Batch>& batches);

}  // namespace prentice

// Two sets of weights run on the same tokens, layer by layer: one layer of either is in memory at a time, beside the
// states of all tokens. What verification knows of logits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/batch.h"
#include "export/weight_source.h"
#include "model/gguf_load.h"

namespace prentice {

// Where the tensors of one decoder come from. `read` fills a tensor of f32 on the CPU; `read_rows` as many rows of a
// matrix as the destination has, from `first` on. Without it large embeddings and heads are in memory whole.
struct WeightReader {
  ModelSpec spec;
  std::function<void(const std::string& tensor, const Tensor& destination)> read;
  std::function<void(const std::string& tensor, int64_t first, const Tensor& destination)> read_rows = {};
};
// The source must outlive the reader; and so must the file, which the spec was read from.
WeightReader reader_of(const WeightSource&);
WeightReader reader_of(const GgufReader&, const ModelSpec&);
// What products of a model that trains against a file's rounding (adapter.qat) read; it must outlive the reader.
WeightReader reader_of(const Model&);

// So many logits of either side are in memory at a time, and so many tokens are worked on.
inline constexpr int64_t kHeldValues = int64_t{1} << 24;  // of an embedding or a head that is read by its rows
inline constexpr int64_t kProofLogits = int64_t{1} << 22, kProofMicroTokens = 2048;

struct LogitProof {
  int64_t tokens = 0;
  double kld_mean = 0, kld_p99 = 0;  // nats, of the artifact from the model
  double top1 = 0;                   // share of positions where both find the same id likeliest
  double confidence = 0;             // mean probability of the model's likeliest id
  double largest = 0;                // difference of two probabilities' logarithms, of ids likelier than 1e-4
  int64_t targets = 0;               // positions whose next token is known
  double perplexity_ratio = 1;       // the artifact's by the model's, over them
  int64_t ends = 0,
          ends_kept = 0;  // positions where the model's greedy answer ends, and where the artifact's does, too
};

// In f32, on the device of the batches, one of which is worked on at a time; `before_layer` is called between layers
// and may throw. Errors: those of reading; `numerical` for logits of the model that are not finite.
LogitProof prove_logits(const WeightReader& model, const WeightReader& artifact, const std::vector<Batch>& batches,
                        const std::vector<int32_t>& stop_ids, const std::function<void()>& before_layer);

// The logits behind each sequence of a batch, by the same walk: [S, V] f64 on the CPU.
Tensor last_logits(const WeightReader&, const Batch&, const std::function<void()>& before_layer);

// Logits that another program makes after every id of a sequence: calls `use` with rows [n, V] f32 on the CPU, which
// live until it returns, and the position of the first of them, in order. Returns what went wrong; "" = nothing.
using UseRows = std::function<void(int64_t first, const Tensor& rows)>;
using ForeignLogits = std::function<std::string(std::span<const int64_t> ids, const UseRows& use)>;

// What another program that runs the artifact's file adds.
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

struct AnsweredProof {
  LogitProof own;  // as prove_logits
  AnswerProof answers;
};
// Asks of kAskedPositions positions, spread over all whose ids are at most `context`.
AnsweredProof prove_logits_by_answers(const WeightReader& model, const WeightReader& artifact,
                                      const ForeignAnswers& witness, int64_t context, const std::vector<Batch>& batches,
                                      const std::vector<int32_t>& stop_ids, const std::function<void()>& before_layer);

struct WitnessedProof {
  LogitProof own;  // as prove_logits
  WitnessProof witness;
};
WitnessedProof prove_logits_twice(const WeightReader& model, const WeightReader& artifact, const ForeignLogits& witness,
                                  const std::vector<Batch>& batches, const std::vector<int32_t>& stop_ids,
                                  const std::function<void()>& before_layer);

}  // namespace prentice

// Two sets of weights run on the same tokens, layer by layer, and how far their logits are apart: what verification
// knows of logits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/batch.h"
#include "proof/layer_walk.h"

namespace prentice {

// So many logits of either side are in memory at a time, and so many tokens are worked on.
inline constexpr int64_t kProofLogits = int64_t{1} << 22, kProofMicroTokens = 2048;
// Tokens that a model and a file made of it are both run on where verify.tokens does not say.
inline constexpr int64_t kProofTokensCpu = 512, kProofTokensGpu = 8192;

struct LogitProof {
  int64_t tokens = 0;
  double kld_mean = 0, kld_p99 = 0;  // nats, of the artifact from the model
  double top1 = 0;                   // share of positions where both find the same id likeliest
  double confidence = 0;             // mean probability of the model's likeliest id
  double largest = 0;                // difference of two probabilities' logarithms, of ids likelier than 1e-4
  int64_t targets = 0;               // positions whose next token is known
  double perplexity_ratio = 1;       // the artifact's by the model's, over them
  int64_t ends = 0,
          ends_kept = 0;  // positions where the model's greedy answer clearly ends, and where the artifact's does, too
};

// Logits of ids [first, first + count) at some positions: [T, count] f64
using LogitsOf = std::function<Tensor(int64_t first, int64_t count)>;

// A model and what was made of it, behind their last norm on the tokens of all batches, one batch after the other.
class SideBySide {
 public:
  // `before_layer` is called between layers, and before logits are formed, and may throw. All must outlive it.
  // Errors: those of reading.
  SideBySide(const WeightReader& model, const WeightReader& artifact, const std::vector<Batch>&,
             const std::function<void()>& before_layer);

  // Errors: `numerical` for logits of the model that are not finite.
  LogitProof compare(const std::vector<int32_t>& stop_ids) const;

  int64_t vocab() const { return vocab_; }
  // At some tokens, given as places among all; undefined: at all.
  LogitsOf of_model(const Tensor& tokens) const { return logits_of(model_, tokens); }
  LogitsOf of_artifact(const Tensor& tokens) const { return logits_of(artifact_, tokens); }

  // The id behind each token, trained on or not; -1 at the end of a sequence.
  const std::vector<int64_t>& next() const { return next_; }

 private:
  LogitsOf logits_of(const LayerWalk&, const Tensor& tokens) const;

  const std::function<void()>& before_layer_;
  int64_t vocab_;
  std::vector<int64_t> next_;
  LayerWalk model_, artifact_;
};

}  // namespace prentice

// Causal attention over the sequences of a flat batch: no token sees another sequence. One function, the form by device
// and type behind it.
#pragma once

#include "core/batch.h"
#include "core/tensor.h"

namespace prentice {

struct AttentionOptions {
  double scale = 0;    // of q.k
  int64_t window = 0;  // keys visible, self included; 0 = all before
  double softcap = 0;  // cap * tanh(score / cap); 0 = none
};

// q [T, H, E], k and v [T, K, E] with H a multiple of K (query head h reads key head h / (H / K)) -> [T, H * E].
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                 const AttentionOptions& options);

// The same written out: scores, mask, softmax in f32 (f64 for f64), product; [L, L] for each sequence and head is made.
// The reference of the tests, and the one form that knows a soft cap.
Tensor attention_reference(const Tensor& q, const Tensor& k, const Tensor& v, const Batch& batch,
                           const AttentionOptions& options);

// One sequence whose queries are the last L of its N keys: q [L, H, E], k and v [N, K, E] -> [L, H * E], no gradient.
Tensor attention_cached(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options);

// True where query i of L may not see key j of N, [L, N]: j lies behind it (query i stands at N - L + i) or outside
// the window.
Tensor hidden_keys(int64_t queries, int64_t keys, int64_t window, at::Device device);

}  // namespace prentice

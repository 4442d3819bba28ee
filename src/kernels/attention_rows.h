// The element-wise half of blocked attention: what happens to a block of scores between its matrix products.
#pragma once

#include <cstdint>

namespace prentice {

// Scores of `queries` consecutive queries against keys first_key, first_key + 1, ...; rows are `stride` elements apart.
// Query r stands at position first_query + r and sees keys up to itself, at most `window` of them (0 = all).
struct ScoreBlock {
  int64_t queries, keys, stride;
  int64_t first_query, first_key;
  int64_t window;
};

// scores -> softmax(scale * scores) over the visible keys, 0 elsewhere; log_sums[r] receives the logarithm of the sum
// of exp(scale * score).
template <class T>
void softmax_rows(const ScoreBlock&, T* scores, double scale, T* log_sums);

// scores -> the same shares, from the sums of the forward pass.
template <class T>
void shares_rows(const ScoreBlock&, T* scores, double scale, const T* log_sums);

// dshares -> gradient of the scores: scale * shares * (dshares - deltas[r]).
template <class T>
void score_gradient_rows(const ScoreBlock&, const T* shares, T* dshares, double scale, const T* deltas);

}  // namespace prentice

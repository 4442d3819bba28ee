// A block has a row of the vocabulary: it reads it once for the softmax's sum (Milakov and Gimelshein 2018, algorithm
// 3: the sum is rescaled where a larger value comes) and once more to write the gradient.
#pragma once

#include <cmath>

#include "kernels/device_row.h"
#include "kernels/label_losses_launch.h"

namespace prentice {

// More than other kernels have: a chunk has few rows, and each thread one load under way at a time.
inline constexpr int kVocabThreads = 512;

template <class W, int kN>
__global__ void label_losses_kernel(LabelLossesLaunch given) {
  const int64_t row = blockIdx.x, vectors = given.width / kN, label = given.labels[row];
  auto* logits = vectors_of<kN>(static_cast<W*>(given.logits), row, given.width);
  // Finite, so that -inf among the logits is a probability of 0 and not inf - inf.
  W largest = static_cast<W>(-3.4e38), sum = 0;
  for (int64_t i = threadIdx.x; i < vectors; i += kVocabThreads) {
    const Vector<W, kN> value = logits[i];
    W of_vector = largest;
#pragma unroll
    for (int j = 0; j < kN; ++j) of_vector = Larger()(value.at[j], of_vector);
    if (of_vector > largest) sum *= std::exp(largest - of_vector), largest = of_vector;
#pragma unroll
    for (int j = 0; j < kN; ++j) sum += std::exp(value.at[j] - largest);
  }
  const W own = largest;
  largest = joined_over_group<kVocabThreads>(largest, Larger());
  sum = joined_over_group<kVocabThreads>(sum * std::exp(own - largest), Add());
  const W log_sum = std::log(sum);
  if (threadIdx.x == 0) {
    const W own_logit = static_cast<const W*>(given.logits)[row * given.width + label];
    static_cast<W*>(given.losses)[row] = log_sum - (own_logit - largest);
  }
  if (!given.gradients) return;
  __syncthreads();  // the label's logit has been read
  for (int64_t i = threadIdx.x; i < vectors; i += kVocabThreads) {
    Vector<W, kN> value = logits[i];
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      value.at[j] = std::exp(value.at[j] - largest - log_sum) - (i * kN + j == label ? W(1) : W(0));
    }
    logits[i] = value;
  }
}

}  // namespace prentice

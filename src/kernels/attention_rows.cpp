#include "kernels/attention_rows.h"

#include <limits>

#include "kernels/vector.h"
#include "kernels/vector_math.h"

namespace prentice {

namespace {

// Columns of row r that its query may see.
struct Visible {
  int64_t begin, end;
};
Visible visible(const ScoreBlock& block, int64_t r) {
  const int64_t position = block.first_query + r;
  const int64_t oldest = block.window > 0 ? std::max<int64_t>(0, position - block.window + 1) : 0;
  return {std::max<int64_t>(0, oldest - block.first_key), std::min(block.keys, position + 1 - block.first_key)};
}

template <class T>
PRENTICE_VECTORISED T largest(const T* x, int64_t count) {
  T lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<T>::infinity());
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = lanes[lane] < x[j + lane] ? x[j + lane] : lanes[lane];
  }
  for (; j < count; ++j) lanes[0] = lanes[0] < x[j] ? x[j] : lanes[0];
  return *std::max_element(lanes, lanes + kLanes);
}

// x -> exp(scale * x - shift); returns the sum
template <class T>
PRENTICE_VECTORISED T exponentials(T* x, int64_t count, T scale, T shift) {
  T lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      x[j + lane] = fast_exp(scale * x[j + lane] - shift);
      lanes[lane] += x[j + lane];
    }
  }
  for (; j < count; ++j) lanes[0] += x[j] = fast_exp(scale * x[j] - shift);
  T sum = 0;
  for (T lane : lanes) sum += lane;
  return sum;
}

template <class T>
PRENTICE_VECTORISED void multiply(T* x, int64_t count, T factor) {
  for (int64_t j = 0; j < count; ++j) x[j] *= factor;
}

template <class T>
PRENTICE_VECTORISED void gradient(const T* share, T* dshare, int64_t count, T scale, T delta) {
  for (int64_t j = 0; j < count; ++j) dshare[j] = scale * share[j] * (dshare[j] - delta);
}

template <class T>
void clear_outside(T* row, Visible seen, int64_t keys) {
  std::fill(row, row + seen.begin, T(0));
  std::fill(row + seen.end, row + keys, T(0));
}

}  // namespace

template <class T>
void softmax_rows(const ScoreBlock& block, T* scores, double scale, T* log_sums) {
  for (int64_t r = 0; r < block.queries; ++r) {
    T* row = scores + r * block.stride;
    const Visible seen = visible(block, r);
    const int64_t count = seen.end - seen.begin;
    const T shift = static_cast<T>(scale) * largest(row + seen.begin, count);
    const T sum = exponentials(row + seen.begin, count, static_cast<T>(scale), shift);
    multiply(row + seen.begin, count, 1 / sum);
    clear_outside(row, seen, block.keys);
    log_sums[r] = shift + std::log(sum);
  }
}

template <class T>
void shares_rows(const ScoreBlock& block, T* scores, double scale, const T* log_sums) {
  for (int64_t r = 0; r < block.queries; ++r) {
    T* row = scores + r * block.stride;
    const Visible seen = visible(block, r);
    exponentials(row + seen.begin, seen.end - seen.begin, static_cast<T>(scale), log_sums[r]);
    clear_outside(row, seen, block.keys);
  }
}

template <class T>
void score_gradient_rows(const ScoreBlock& block, const T* shares, T* dshares, double scale, const T* deltas) {
  for (int64_t r = 0; r < block.queries; ++r) {
    gradient(shares + r * block.stride, dshares + r * block.stride, block.keys, static_cast<T>(scale), deltas[r]);
  }
}

template void softmax_rows(const ScoreBlock&, float*, double, float*);
template void softmax_rows(const ScoreBlock&, double*, double, double*);
template void shares_rows(const ScoreBlock&, float*, double, const float*);
template void shares_rows(const ScoreBlock&, double*, double, const double*);
template void score_gradient_rows(const ScoreBlock&, const float*, float*, double, const float*);
template void score_gradient_rows(const ScoreBlock&, const double*, double*, double, const double*);

}  // namespace prentice

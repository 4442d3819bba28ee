#include "data/order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/random.h"

namespace prentice {

namespace {

// Streams of one seed: epochs count up from 0, the decks of file i from (i + 1) * 2^40.
constexpr uint64_t kDeckStream = uint64_t{1} << 40;

std::vector<MixPart> one_part(int64_t sequences) {
  std::vector<MixPart> mix(1);
  mix[0].members.resize(sequences);
  std::iota(mix[0].members.begin(), mix[0].members.end(), int64_t{0});
  return mix;
}

}  // namespace

std::vector<int64_t> apportion(int64_t total, const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> parts(weights.size(), 0);
  std::vector<std::pair<double, size_t>> remainders;
  int64_t given = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double exact = sum > 0 ? static_cast<double>(total) * weights[i] / sum : 0;
    parts[i] = static_cast<int64_t>(std::floor(exact));
    given += parts[i];
    remainders.emplace_back(-(exact - std::floor(exact)), i);
  }
  std::sort(remainders.begin(), remainders.end());
  for (size_t i = 0; given < total && i < remainders.size(); ++i, ++given) ++parts[remainders[i].second];
  return parts;
}

std::vector<int64_t> permutation(int64_t count, uint64_t seed, uint64_t stream) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t last = count - 1; last > 0; --last) {
    std::swap(order[last], order[bounded_from(random_bits(seed, stream, last), last + 1)]);
  }
  return order;
}

Order::Order(int64_t sequences, uint64_t seed, bool shuffle) : Order(one_part(sequences), seed, shuffle) {}

Order::Order(std::vector<MixPart> mix, uint64_t seed, bool shuffle)
    : mix_(std::move(mix)), seed_(seed), shuffle_(shuffle) {
  std::vector<double> weights;
  for (const auto& part : mix_) {
    size_ += static_cast<int64_t>(part.members.size());
    weights.push_back(part.members.empty() ? 0 : part.weight);
  }
  shares_ = apportion(size_, weights);
}

void Order::append_part(size_t part, int64_t epoch, std::vector<Draw>& draws) const {
  const auto& members = mix_[part].members;
  const int64_t count = static_cast<int64_t>(members.size());
  int64_t position = epoch * shares_[part];
  const int64_t end = position + shares_[part];
  while (position < end) {
    const int64_t deck = position / count, first = position % count;
    const int64_t last = std::min(count, first + end - position);
    std::vector<int64_t> order;
    if (shuffle_) order = permutation(count, seed_, (part + 1) * kDeckStream + deck);
    for (int64_t i = first; i < last; ++i) draws.push_back({members[shuffle_ ? order[i] : i], deck});
    position += last - first;
  }
}

std::vector<Draw> Order::epoch(int64_t index) const {
  std::vector<Draw> draws;
  draws.reserve(size_);
  for (size_t part = 0; part < mix_.size(); ++part) append_part(part, index, draws);
  if (mix_.size() == 1) return draws;

  std::vector<Draw> mixed(draws.size());
  if (shuffle_) {
    const auto order = permutation(size_, seed_, index);
    for (int64_t i = 0; i < size_; ++i) mixed[i] = draws[order[i]];
    return mixed;
  }
  // Draw j of a part with share k stands at (j + 1/2) / k of the epoch.
  std::vector<std::pair<double, int64_t>> places;
  int64_t next = 0;
  for (const int64_t share : shares_) {
    for (int64_t j = 0; j < share; ++j) places.emplace_back((j + 0.5) / static_cast<double>(share), next++);
  }
  std::stable_sort(places.begin(), places.end());
  for (int64_t i = 0; i < size_; ++i) mixed[i] = draws[places[i].second];
  return mixed;
}

}  // namespace prentice

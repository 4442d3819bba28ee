#include "data/pack.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

namespace prentice {

std::vector<std::vector<int64_t>> pack_bins(const std::vector<int64_t>& lengths, int64_t capacity) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  if (capacity <= 0) {
    if (order.empty()) return {};
    return {order};
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });

  std::vector<std::vector<int64_t>> bins;
  std::set<std::pair<int64_t, size_t>> room;  // (free tokens, bin)
  for (const int64_t index : order) {
    const int64_t length = lengths[index];
    const auto best = room.lower_bound({length, 0});
    if (best == room.end()) {
      if (length < capacity) room.emplace(capacity - length, bins.size());
      bins.push_back({index});
      continue;
    }
    const auto [free, bin] = *best;
    room.erase(best);
    if (free > length) room.emplace(free - length, bin);
    bins[bin].push_back(index);
  }
  for (auto& bin : bins) std::sort(bin.begin(), bin.end());
  std::sort(bins.begin(), bins.end(), [](const auto& a, const auto& b) { return a.front() < b.front(); });
  return bins;
}

}  // namespace prentice

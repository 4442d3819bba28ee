// Sampling with a key/value cache.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"

namespace prentice {

struct SampleOptions {
  int64_t max_new_tokens = 256;
  double temperature = 0;  // 0 = greedy
  double top_p = 1;
  int64_t top_k = 0;
  uint64_t seed = 17;
  std::vector<int32_t> stop_ids;
  int64_t vocab = 0;  // tokens of the tokenizer: rows of the head behind them are padding, never chosen; 0 = all rows
};

// Keys and values of one sequence, grown in place, and the ids they come from.
class KvCache {
 public:
  explicit KvCache(const Model&);
  int64_t length() const { return static_cast<int64_t>(ids_.size()); }
  void truncate(int64_t length);  // forgets what lies beyond

 private:
  friend Tensor forward_cached(const Model&, std::span<const int32_t>, KvCache&);
  Tensor append(const Model&, std::span<const int32_t> ids);

  std::vector<Tensor> keys_, values_;  // by layer: [capacity, K, E]
  std::vector<int32_t> ids_;
  int64_t rotated_for_ = 0;  // the length that the keys were rotated for
};

// Appends `ids` to the cache. Returns the hidden states after the final norm, [ids, D]. Where the sequence passes the
// length at which its rotation changes (longrope), the cache is filled anew, as transformers does.
Tensor forward_cached(const Model&, std::span<const int32_t> ids, KvCache&);

// New ids, the stop token included when it ended the text. `on_token` (optional) returning false stops early.
std::vector<int32_t> generate(const Model&, std::span<const int32_t> prompt, const SampleOptions&,
                              const std::function<bool(int32_t)>& on_token = {});

}  // namespace prentice

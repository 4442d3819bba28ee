// The nearest recipe that fits a device: the smallest set of changes, of those that change least of what is learnt.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plan/plan.h"

namespace prentice {

// What a recipe leaves to change, beside what every recipe does.
struct Changeable {
  int64_t group = 1;           // rows that stand together (a pair: 2)
  bool offload = true;         // on a GPU
  bool four_bits = false;      // of a base while an adapter trains
  bool adapter = false;        // in place of training all weights
  bool refuses_long = false;   // rows longer than data.max_length, unless they are dropped
  bool micro_follows = false;  // train.micro_tokens is decided anew for shorter rows
  int64_t shortest = 0;        // of all rows, in tokens
};

struct NearestFit {
  bool fits = false;
  std::vector<std::string> words;  // key=value, to be appended to the command
  StepShape shape;                 // with them
  MemoryByPhase memory;
};

// In this order: recomputation of the MLPs, of whole blocks, the smallest micro-batch, what can wait on the host, no
// proof of the products, moments in 8 bits, an adapter in place of all weights, its base in four bits, and rows half as
// long, a quarter as long, ... Nothing that the rest does without is among the words. What does not fit, either, is the
// last that was tried.
NearestFit nearest_fit(const StepShape&, const ExportSection&, const Changeable&, int64_t memory_bytes);

// Shorter rows than these are not proposed.
inline constexpr int64_t kShortestRow = 32;
// Whether rows longer than data.max_length end the run.
bool refuses_long_rows(const DataSection&);

// "9.1 GB would do with model.quantize=nf4"
std::string would_do(const std::vector<std::string>& words, int64_t bytes);
// What is left in the way with the words, which are too few; `part`: the largest of what takes the memory.
std::string not_enough(const std::vector<std::string>& words, const MemoryByPhase&,
                       std::pair<std::string_view, int64_t> part, int64_t more = 0);

// The same in a sentence. `more`: bytes of every phase that the memory of the fit does not have.
std::string advice_of(const NearestFit&, int64_t more);

}  // namespace prentice

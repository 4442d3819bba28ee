#include "plan/nearest_fit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "config/words.h"
#include "core/units.h"

namespace prentice {

namespace {

// From the least to the most that a change changes of what is learnt.
enum class Change { mlp, block, micro, offload, unproven, in_8bit, adapter, four_bits };

struct Changes {
  std::set<Change> made;
  int64_t max_length = 0;  // of a row; 0 = as long as before

  bool has(Change change) const { return made.contains(change); }
};

class Search {
 public:
  Search(const StepShape& shape, const ExportSection& exports, const Changeable& may, int64_t memory_bytes)
      : shape_(shape), exports_(exports), may_(may), memory_bytes_(memory_bytes) {}

  NearestFit find() {
    Changes changes;
    for (const Change change : possible()) {
      changes.made.insert(change);
      if (fits(changes)) return fewest(changes);
    }
    const int64_t shortest = std::max(kShortestRow, may_.refuses_long ? may_.shortest : 0);
    for (int64_t row = shape_.longest / may_.group / 2; row >= shortest; row /= 2) {
      changes.max_length = row;
      if (fits(changes)) return fewest(changes);
    }
    return with(changes);
  }

 private:
  std::vector<Change> possible() const {
    std::vector<Change> all;
    const auto add = [&](Change change, bool when) {
      if (when) all.push_back(change);
    };
    const bool proven = run_memory(shape_, exports_).verify > 0;
    add(Change::mlp, shape_.recomputed == Recomputed::nothing);
    add(Change::block, shape_.recomputed != Recomputed::block);
    add(Change::micro, shape_.micro_tokens > micro_batches(shape_.is_gpu).back());
    add(Change::offload, may_.offload && shape_.is_gpu && !shape_.offload);
    add(Change::unproven, exports_.verify && proven);
    add(Change::in_8bit, shape_.full() && shape_.optimizer != OptimizerName::adamw8bit);
    add(Change::adapter, shape_.full() && may_.adapter);
    add(Change::four_bits, may_.four_bits && (may_.adapter || !shape_.full()));
    return all;
  }

  StepShape changed(const Changes& changes) const {
    StepShape shape = shape_;
    if (changes.has(Change::mlp)) shape.recomputed = std::max(shape.recomputed, Recomputed::mlp);
    if (changes.has(Change::block)) shape.recomputed = Recomputed::block;
    if (changes.has(Change::offload)) shape.offload = true;
    if (changes.has(Change::in_8bit)) shape.optimizer = OptimizerName::adamw8bit;
    if (changes.has(Change::four_bits)) shape.quantize = Quantize::nf4;
    if (changes.has(Change::adapter)) {
      // A reference that is the model as it was costs nothing beside an adapter.
      const auto start = shape.trainable * static_cast<int64_t>(sizeof(float));
      if (shape.asked && !shape.asked->teach && shape.asked->bytes == start) shape.asked->bytes = 0;
      shape.adapter->kind = AdapterKind::lora;
    }
    if (changes.max_length > 0) {
      shape.longest = std::min(shape.longest, may_.group * changes.max_length);
      shape.starts.clear();
    }
    if (changes.has(Change::micro) || (changes.max_length > 0 && may_.micro_follows)) {
      const int64_t least = std::max(micro_batches(shape.is_gpu).back(), shape.longest);
      if (least < shape.micro_tokens) shape.starts.clear(), shape.accumulates = true;
      shape.micro_tokens = std::min(shape.micro_tokens, least);
      shape.labelled = std::min(shape.labelled, shape.micro_tokens);
      shape.eval_tokens = std::min(shape.eval_tokens, shape.micro_tokens);
      shape.eval_labelled = std::min(shape.eval_labelled, shape.eval_tokens);
    }
    return shape;
  }

  NearestFit with(const Changes& changes) const {
    NearestFit found{.words = words(changes), .shape = changed(changes)};
    ExportSection exports = exports_;
    exports.verify = exports.verify && !changes.has(Change::unproven);
    found.memory = run_memory(found.shape, exports);
    found.fits = found.memory.peak() <= memory_bytes_;
    return found;
  }

  bool fits(const Changes& changes) const {
    const bool holds_four_bits = shape_.quantize != Quantize::none || changes.has(Change::four_bits);
    if (holds_four_bits && shape_.full() && !changes.has(Change::adapter)) return false;  // they cannot train
    return with(changes).fits;
  }

  // Without what the rest does without, of which what changes most is left out first.
  NearestFit fewest(Changes changes) const {
    const std::vector<Change> all(changes.made.begin(), changes.made.end());
    for (auto change = all.rbegin(); change != all.rend(); ++change) {
      Changes fewer = changes;
      fewer.made.erase(*change);
      if (fits(fewer)) changes = fewer;
    }
    return with(changes);
  }

  std::vector<std::string> words(const Changes& changes) const {
    const StepShape shape = changed(changes);
    std::vector<std::string> words;
    if (shape.recomputed != shape_.recomputed)
      words.push_back(fmt::format("train.recompute={}", word_of(recompute_word(shape.recomputed))));
    if (changes.has(Change::micro) && shape.micro_tokens < shape_.micro_tokens)
      words.push_back(fmt::format("train.micro_tokens={}", shape.micro_tokens));
    if (shape.offload != shape_.offload) words.emplace_back("train.offload=true");
    if (changes.has(Change::unproven)) words.emplace_back("export.verify=false");
    if (changes.has(Change::in_8bit)) words.emplace_back("optim.name=adamw8bit");
    if (changes.has(Change::adapter)) words.emplace_back("adapter.kind=lora");
    if (changes.has(Change::four_bits)) words.emplace_back("model.quantize=nf4");
    if (changes.max_length > 0) {
      words.push_back(fmt::format("data.max_length={}", changes.max_length));
      if (may_.refuses_long) words.emplace_back("data.overlong=drop");
    }
    return words;
  }

  const StepShape& shape_;
  const ExportSection& exports_;
  const Changeable& may_;
  int64_t memory_bytes_;
};

}  // namespace

bool refuses_long_rows(const DataSection& data) {
  return data.overlong == Overlong::error || (data.overlong == Overlong::automatic && data.format != DataFormat::text);
}

NearestFit nearest_fit(const StepShape& shape, const ExportSection& exports, const Changeable& may,
                       int64_t memory_bytes) {
  return Search(shape, exports, may, memory_bytes).find();
}

std::string would_do(const std::vector<std::string>& words, int64_t bytes) {
  return fmt::format("{} would do with {}", human_bytes(static_cast<double>(bytes)), fmt::join(words, " "));
}

std::string not_enough(const std::vector<std::string>& words, const MemoryByPhase& memory,
                       std::pair<std::string_view, int64_t> part, int64_t more) {
  const std::string with = words.empty() ? "" : fmt::format("with {} ", fmt::join(words, " "));
  return fmt::format("no change of the recipe is enough: {}{} takes {}, {} of it for {}", with, memory.peak_phase(),
                     human_bytes(static_cast<double>(memory.peak() + more)),
                     human_bytes(static_cast<double>(part.second)), part.first);
}

std::string advice_of(const NearestFit& nearest, int64_t more) {
  if (nearest.fits) return would_do(nearest.words, nearest.memory.peak() + more);
  return not_enough(nearest.words, nearest.memory, largest_part(nearest.shape), more);
}

}  // namespace prentice

#include "data/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <span>
#include <type_traits>

#include "core/error.h"
#include "data/pack.h"
#include "io/sha256.h"

namespace prentice {

namespace {

// The draws of one epoch and where each of its steps begins.
struct EpochPlan {
  std::vector<Draw> draws;
  std::vector<int64_t> begins;  // steps + 1

  int64_t steps() const { return static_cast<int64_t>(begins.size()) - 1; }
};

class EpochSteps final : public StepSource {
 public:
  EpochSteps(const EncodedSet& set, const StepOptions& options)
      : sequences_(set.sequences),
        group_(set.group),
        mix_(mix_parts(set)),
        options_(options),
        order_(mix_, options.seed, options.shuffle) {
    check();
    lay_out();
  }

  int64_t size() const override { return size_; }
  int64_t steps_in_epoch() const override { return starts_[1]; }

  Step step(int64_t index) const override {
    const auto next = std::upper_bound(starts_.begin(), starts_.end(), index);
    const int64_t epoch = next - starts_.begin() - 1;
    const auto plan = epoch_plan(epoch);
    const int64_t first = plan->begins[index - starts_[epoch]], last = plan->begins[index - starts_[epoch] + 1];
    return make_step(std::span(plan->draws).subspan(first, last - first), epoch);
  }

  std::string order_hash() const override {
    std::call_once(hashed_, [this] { hash_ = hash_order(); });
    return hash_;
  }

 private:
  void check() const {
    if (sequences_.empty()) fail(ExitCode::data, "there are no rows to train on");
    if (options_.batch <= 0 && options_.batch_tokens <= 0) {
      fail(ExitCode::usage, "train.batch: expected at least 1 example per step, got 0");
    }
    if (options_.steps <= 0 && !(options_.epochs > 0)) {
      fail(ExitCode::usage, fmt::format("train.epochs: expected a number above 0, got {}", options_.epochs));
    }
    if (options_.batch > 0) return;
    const int64_t longest = longest_group(sequences_, group_);
    if (longest <= options_.batch_tokens) return;
    fail(ExitCode::usage,
         fmt::format("train.batch_tokens: {} is less than the longest {}, {} tokens", options_.batch_tokens,
                     group_ > 1 ? "pair" : "row", longest),
         "raise train.batch_tokens or lower data.max_length");
  }

  // starts_[e] is the first step of epoch e, for every epoch the run touches, and one beyond.
  void lay_out() {
    starts_ = {0};
    const bool equal_epochs = options_.batch > 0 || mix_.size() == 1;
    const int64_t first = epoch_plan(0)->steps();
    const auto steps_of = [&](int64_t epoch) { return equal_epochs ? first : epoch_plan(epoch)->steps(); };
    if (options_.steps > 0) {
      size_ = options_.steps;
      while (starts_.back() < size_) starts_.push_back(starts_.back() + steps_of(starts_.size() - 1));
      return;
    }
    const auto whole = static_cast<int64_t>(options_.epochs);
    for (int64_t epoch = 0; epoch < whole; ++epoch) starts_.push_back(starts_.back() + steps_of(epoch));
    size_ = starts_.back();
    const double rest = options_.epochs - static_cast<double>(whole);
    if (rest > 0) {
      const int64_t steps = steps_of(whole);
      size_ += static_cast<int64_t>(std::ceil(rest * static_cast<double>(steps) - 1e-6));
      starts_.push_back(starts_.back() + steps);
    }
    size_ = std::max<int64_t>(size_, 1);
  }

  EpochPlan plan_epoch(int64_t epoch) const {
    EpochPlan plan{order_.epoch(epoch), {0}};
    const auto count = static_cast<int64_t>(plan.draws.size());
    if (options_.batch > 0) {
      while (plan.begins.back() < count) plan.begins.push_back(std::min(plan.begins.back() + options_.batch, count));
      return plan;
    }
    int64_t end = 0, step = 0;  // tokens up to and with this draw; the step it belongs to
    for (int64_t i = 0; i < count; ++i) {
      end += group_size(plan.draws[i]);
      const int64_t its_step = (end - 1) / options_.batch_tokens;
      if (i > 0 && its_step != step) plan.begins.push_back(i);
      step = its_step;
    }
    plan.begins.push_back(count);
    return plan;
  }

  // Plans are kept for two epochs: that of the running step and that of the step being prepared.
  std::shared_ptr<const EpochPlan> epoch_plan(int64_t epoch) const {
    const std::lock_guard lock(mutex_);
    if (const auto found = plans_.find(epoch); found != plans_.end()) return found->second;
    if (plans_.size() >= 2) plans_.erase(plans_.begin());
    return plans_[epoch] = std::make_shared<const EpochPlan>(plan_epoch(epoch));
  }

  Step make_step(std::span<const Draw> draws, int64_t epoch) const {
    Step step{.epoch = epoch};
    std::vector<int64_t> lengths;
    for (const auto& draw : draws) {
      lengths.push_back(group_size(draw));
      step.input_tokens += lengths.back();
      for (const auto& sequence : group_of(draw)) {
        const double targets = sequence.target_weight();
        step.counts.tokens += targets;
        if (sequence.role == kChosen) step.counts.chosen_tokens += targets;
      }
    }
    step.counts.sequences = static_cast<double>(draws.size()) * static_cast<double>(group_);
    if (group_ > 1) step.counts.pairs = static_cast<double>(draws.size());
    const int64_t capacity = options_.packing ? options_.micro_tokens : 1;
    for (const auto& bin : pack_bins(lengths, capacity)) {
      std::vector<const Sequence*> members;
      std::vector<int64_t> occurrences;
      for (const int64_t i : bin) {
        for (const auto& sequence : group_of(draws[i])) {
          members.push_back(&sequence);
          occurrences.push_back(draws[i].occurrence);
        }
      }
      step.micros.push_back(collate(members, occurrences));
    }
    if (group_ == 1 && sequences_[0].role != kNoRole) step.mismatched = mismatched_batches(draws, capacity);
    return step;
  }

  // Every answer of the step moves on to the next prompt. An answer alone in its step has none to move to.
  std::vector<Batch> mismatched_batches(std::span<const Draw> draws, int64_t capacity) const {
    std::vector<Sequence> made;
    std::vector<int64_t> lengths;
    for (size_t i = 0; i < draws.size() && draws.size() > 1; ++i) {
      const auto& answer = draws[(i + draws.size() - 1) % draws.size()];
      made.push_back(prentice::mismatched(sequences_[draws[i].sequence], sequences_[answer.sequence]));
      lengths.push_back(made.back().size());
    }
    std::vector<Batch> batches;
    for (const auto& bin : pack_bins(lengths, capacity)) {
      std::vector<const Sequence*> members;
      for (const int64_t i : bin) members.push_back(&made[i]);
      batches.push_back(collate(members, 0));
    }
    return batches;
  }

  std::span<const Sequence> group_of(const Draw& draw) const { return sequences_.subspan(draw.sequence, group_); }
  int64_t group_size(const Draw& draw) const { return longest_group(group_of(draw), group_); }

  // Everything that decides which example stands at which position. How a step is cut into micro-batches and how long
  // the run is do not belong here: neither moves an example.
  std::string hash_order() const {
    Sha256 hash;
    const auto add = [&](const auto& values) { hash.update(std::as_bytes(std::span(values))); };
    const auto add_list = [&](const auto& values) {
      add(std::vector<uint64_t>{values.size()});
      add(values);
    };
    add(std::vector<uint64_t>{options_.seed, options_.shuffle, static_cast<uint64_t>(options_.batch),
                              options_.batch > 0 ? 0 : static_cast<uint64_t>(options_.batch_tokens)});
    for (const auto& part : mix_) {
      add_list(part.members);
      add(std::vector<double>{mix_.size() > 1 ? part.weight : 1.0});
    }
    for (const auto& sequence : sequences_) {
      add_list(sequence.ids);
      add_list(sequence.labels);
      add_list(sequence.weights);
      if (sequence.role != kNoRole) add(std::vector<int32_t>{sequence.role});
    }
    return hash.hex();
  }

  std::span<const Sequence> sequences_;
  int64_t group_;
  std::vector<MixPart> mix_;
  StepOptions options_;
  Order order_;
  std::vector<int64_t> starts_;
  int64_t size_ = 0;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::shared_ptr<const EpochPlan>> plans_;
  mutable std::once_flag hashed_;
  mutable std::string hash_;
};

}  // namespace

int64_t longest_group(std::span<const Sequence> sequences, int64_t group) {
  int64_t longest = 0;
  for (size_t i = 0; i < sequences.size(); i += group) {
    int64_t tokens = 0;
    for (const auto& sequence : sequences.subspan(i, group)) tokens += sequence.size();
    longest = std::max(longest, tokens);
  }
  return longest;
}

Sequence mismatched(const Sequence& prompt, const Sequence& answer) {
  const auto first_label = [](const Sequence& sequence) {
    return std::find_if(sequence.labels.begin(), sequence.labels.end(), [](int32_t l) { return l != kNoLabel; }) -
           sequence.labels.begin();
  };
  const auto before = first_label(prompt), from = first_label(answer);
  Sequence made{.sample = prompt.sample, .role = prompt.role};
  made.ids.assign(prompt.ids.begin(), prompt.ids.begin() + before + 1);
  made.ids.insert(made.ids.end(), answer.ids.begin() + from + 1, answer.ids.end());
  made.labels.assign(before, static_cast<int32_t>(kNoLabel));
  made.labels.insert(made.labels.end(), answer.labels.begin() + from, answer.labels.end());
  if (answer.weights.empty()) return made;
  made.weights.assign(before, 0.0F);
  made.weights.insert(made.weights.end(), answer.weights.begin() + from, answer.weights.end());
  return made;
}

std::vector<MixPart> mix_parts(const EncodedSet& set) {
  const bool mixed = !set.mix_weights.empty();
  std::map<std::string, size_t> part_of_file;
  std::vector<MixPart> parts(mixed ? 0 : 1);
  for (size_t i = 0; i < set.sequences.size(); i += set.group) {
    if (!mixed) {
      parts[0].members.push_back(static_cast<int64_t>(i));
      continue;
    }
    const auto sample = set.sequences[i].sample;
    const auto [entry, is_new] = part_of_file.try_emplace(set.origins[sample].file, parts.size());
    if (is_new) parts.push_back({{}, set.mix_weights[sample]});
    parts[entry->second].members.push_back(static_cast<int64_t>(i));
  }
  return parts;
}

std::unique_ptr<StepSource> make_step_source(const EncodedSet& set, const StepOptions& options) {
  return std::make_unique<EpochSteps>(set, options);
}

}  // namespace prentice

#include "data/unpack.h"

#include <utility>

namespace prentice {

namespace {

class AnnotatedSteps final : public StepSource {
 public:
  AnnotatedSteps(std::unique_ptr<StepSource> source, std::function<void(Batch&)> annotate)
      : source_(std::move(source)), annotate_(std::move(annotate)) {}

  int64_t size() const override { return source_->size(); }
  int64_t steps_in_epoch() const override { return source_->steps_in_epoch(); }
  std::string order_hash() const override { return source_->order_hash(); }
  Step step(int64_t index) const override {
    Step step = source_->step(index);
    for (auto& batch : step.micros) annotate_(batch);
    return step;
  }

 private:
  std::unique_ptr<StepSource> source_;
  std::function<void(Batch&)> annotate_;
};

}  // namespace

std::vector<Sequence> sequences_of(const Batch& batch) {
  const auto* tokens = batch.tokens.const_data_ptr<int64_t>();
  const auto* labels = batch.labels.const_data_ptr<int64_t>();
  const auto* weights = batch.weights.const_data_ptr<float>();
  std::vector<Sequence> sequences;
  for (size_t i = 0; i + 1 < batch.host_starts.size(); ++i) {
    const int64_t begin = batch.host_starts[i], end = batch.host_starts[i + 1];
    sequences.push_back({.ids = {tokens + begin, tokens + end},
                         .labels = {labels + begin, labels + end},
                         .weights = {weights + begin, weights + end}});
  }
  return sequences;
}

std::unique_ptr<StepSource> annotated(std::unique_ptr<StepSource> source, std::function<void(Batch&)> annotate) {
  return std::make_unique<AnnotatedSteps>(std::move(source), std::move(annotate));
}

}  // namespace prentice

#include "train/prefetch.h"

#include <utility>

#include "run/clock.h"

namespace prentice {

namespace {

void pin(Batch& batch) {
  change_tensors(batch, [](const Tensor& tensor) { return tensor.pin_memory(); });
}

}  // namespace

Prefetcher::Prefetcher(const StepSource& source, int64_t first, at::Device device)
    : source_(source), device_(device), index_(first) {
  start();
}

Prefetcher::~Prefetcher() {
  if (pending_.valid()) pending_.wait();
}

void Prefetcher::start() {
  if (index_ >= source_.size()) return;
  pending_ = std::async(std::launch::async, [&source = source_, index = index_, device = device_] {
    Step step = source.step(index);
    if (!device.is_cpu()) {
      for (auto& batch : step.micros) pin(batch);
      for (auto& batch : step.mismatched) pin(batch);
    }
    return step;
  });
  ++index_;
}

Step Prefetcher::next() {
  const double begin = monotonic_seconds();
  Step step = pending_.get();
  waited_ += monotonic_seconds() - begin;
  start();
  return step;
}

}  // namespace prentice

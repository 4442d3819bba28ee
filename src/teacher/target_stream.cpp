#include "teacher/target_stream.h"

#include <utility>

#include "run/clock.h"

namespace prentice {

TargetStream::TargetStream(const TeacherStore& store, RangesOf ranges_of, int64_t first, int64_t end)
    : store_(store), ranges_of_(std::move(ranges_of)), step_(first), end_(end) {
  start();
}

TargetStream::~TargetStream() {
  if (pending_.valid()) pending_.wait();
}

void TargetStream::start() {
  if (step_ >= end_) return;
  pending_ = std::async(std::launch::async, [this, step = step_] { return store_.read(ranges_of_(step)); });
  ++step_;
}

TargetRows TargetStream::next() {
  const double begin = monotonic_seconds();
  TargetRows rows = pending_.get();
  waited_ += monotonic_seconds() - begin;
  start();
  return rows;
}

}  // namespace prentice

// Targets read ahead on a thread, in the order in which the trainer will ask for them, so that reading a store does not
// stall a step.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <vector>

#include "teacher/store.h"

namespace prentice {

class TargetStream {
 public:
  // `ranges_of(i)`: the rows of step i, in the order of its targets; called on the thread, for first <= i < end.
  using RangesOf = std::function<std::vector<RowRange>(int64_t step)>;
  TargetStream(const TeacherStore& store, RangesOf ranges_of, int64_t first, int64_t end);
  TargetStream(const TargetStream&) = delete;
  ~TargetStream();

  TargetRows next();                                 // errors: as TeacherStore::read, and those of `ranges_of`
  double seconds_waited() const { return waited_; }  // in next(), since the start

 private:
  void start();

  const TeacherStore& store_;
  RangesOf ranges_of_;
  int64_t step_, end_;
  double waited_ = 0;
  std::future<TargetRows> pending_;
};

}  // namespace prentice

// The next step's batch, made on a thread while the device computes the current one.
#pragma once

#include <cstdint>
#include <future>

#include "core/batch.h"
#include "data/steps.h"

namespace prentice {

class Prefetcher {
 public:
  // Steps [first, source.size()) in order. On a GPU the tensors are pinned, so that their copy overlaps computation.
  Prefetcher(const StepSource& source, int64_t first, at::Device device);
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;

  Step next();                                       // host tensors; starts the one after. Errors: the source's
  double seconds_waited() const { return waited_; }  // in next(), since the start

 private:
  void start();

  const StepSource& source_;
  at::Device device_;
  int64_t index_;
  double waited_ = 0;
  std::future<Step> pending_;
};

}  // namespace prentice

// Work on ranges of rows in plain threads: the tensor library's pool belongs to training.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace prentice {

// Calls body(chunk, begin, end) for `threads` contiguous ranges that cover [0, count), each in its own thread.
// The first range's exception, if any, is rethrown after all have ended.
template <class Body>
void parallel_ranges(int64_t count, int threads, const Body& body) {
  constexpr int64_t kFewest = 64;  // rows for which a thread is worth its start
  const int64_t chunks = std::clamp<int64_t>(count / kFewest, 1, std::max(threads, 1));
  std::vector<std::exception_ptr> failures(chunks);
  std::vector<std::jthread> workers;  // joined also when the start of a later one throws
  const auto run = [&](int64_t chunk) {
    try {
      body(chunk, count * chunk / chunks, count * (chunk + 1) / chunks);
    } catch (...) {
      failures[chunk] = std::current_exception();
    }
  };
  for (int64_t chunk = 1; chunk < chunks; ++chunk) workers.emplace_back(run, chunk);
  run(0);
  workers.clear();  // joins
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace prentice

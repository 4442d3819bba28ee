// at::parallel_for. Compiled without OpenMP it is a plain loop that says nothing, so rooms reach it through here only.
#pragma once

#ifndef _OPENMP
#error "a room that shares loops out over threads is named PARALLEL in CMakeLists.txt"
#endif

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace prentice {

// work(first, end) for pieces of [0, n) that begin at multiples of `piece`, each by the thread that is free: where
// something else takes a core now and then, at::parallel_for's equal shares leave all threads waiting for one.
template <class Work>
void parallel_pieces(int64_t n, int64_t piece, Work&& work) {
  const int64_t pieces = (n + piece - 1) / piece;
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(pieces, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    for (int64_t at = next++; at < pieces; at = next++) work(at * piece, std::min(n, (at + 1) * piece));
  });
}

}  // namespace prentice

#include "quant/search.h"

#include <vector>

namespace prentice {

namespace {

std::vector<const SearchPath*> runnable() {
  std::vector<const SearchPath*> paths = {&kPortablePath};
#ifdef __x86_64__
  __builtin_cpu_init();
  if (avx2_path() != nullptr && __builtin_cpu_supports("avx2")) paths.push_back(avx2_path());
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512_path() != nullptr && wide) paths.push_back(avx512_path());
#endif
  return paths;
}

}  // namespace

std::span<const SearchPath* const> search_paths() {
  static const std::vector<const SearchPath*> paths = runnable();
  return paths;
}

}  // namespace prentice

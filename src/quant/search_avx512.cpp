// Compiled with -mavx512f and its first extensions on x86-64 (CMakeLists.txt).
#include "quant/search.h"

#ifdef __AVX512BW__
#include "quant/round_lanes.h"
#endif

namespace prentice {

#ifdef __AVX512BW__
static constexpr SearchPath kPath = path_of<16>("AVX-512");
const SearchPath* avx512_path() { return &kPath; }
#else
const SearchPath* avx512_path() { return nullptr; }
#endif

}  // namespace prentice

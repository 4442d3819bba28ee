// Compiled with -mavx2 on x86-64 (CMakeLists.txt).
#include "quant/search.h"

#ifdef __AVX2__
#include "quant/round_lanes.h"
#endif

namespace prentice {

#ifdef __AVX2__
static constexpr SearchPath kPath = path_of<8>("AVX2");
const SearchPath* avx2_path() { return &kPath; }
#else
const SearchPath* avx2_path() { return nullptr; }
#endif

}  // namespace prentice

// What g++ reports of the way a program took (-fsanitize-coverage=trace-pc), as libFuzzer wants to have it: one counter
// a place. libFuzzer's own function of this name only says that clang is wanted; this one is linked before it.
#include <cstdint>
#include <cstdio>

extern "C" void __sanitizer_cov_8bit_counters_init(uint8_t* begin, uint8_t* end);

namespace {

constexpr unsigned kBits = 18;  // of 2^18 counters two places seldom share one
uint8_t counters[1 << kBits];
uint8_t ever[1 << kBits];

struct Registered {
  Registered() { __sanitizer_cov_8bit_counters_init(counters, counters + sizeof counters); }
  ~Registered() {
    unsigned reached = 0;
    for (const uint8_t place : ever) reached += place;
    std::fprintf(stderr, "places reached: %u\n", reached);
  }
} registered;

}  // namespace

extern "C" [[gnu::no_sanitize_coverage, gnu::no_sanitize("address", "undefined")]] void __sanitizer_cov_trace_pc() {
  const auto place = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  const uint64_t slot = (place * 0x9E3779B97F4A7C15u) >> (64 - kBits);
  ++counters[slot];
  ever[slot] = 1;
}

// Comparisons of reals, of which libFuzzer makes nothing.
extern "C" void __sanitizer_cov_trace_cmpf(float, float) {}
extern "C" void __sanitizer_cov_trace_cmpd(double, double) {}

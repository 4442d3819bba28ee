#include "plan/program_share.h"

#include <algorithm>
#include <array>

#include "artifact/machine.h"
#include "core/host.h"
#include "kernels/matrix_product.h"

namespace prentice {

namespace {

// Measured (experiments/plan): code that is first read by a pass on real tensors, with the heads of what libraries
// keep.
constexpr int64_t kTouched = int64_t{19} << 20;
// MKL's buffers of a product.
constexpr int64_t kPerThread = int64_t{3} << 20;
// What oneDNN and LibTorch keep of a compiled product: its description twice, 258 kB each, and its code.
constexpr int64_t kCompiled = int64_t{580} << 10;
constexpr size_t kCompiledKept = 32;     // as main says to them
constexpr int64_t kLeastCompiled = 128;  // narrower ones share one kernel

// In whole steps: what is resident goes up and down by some MB, and the same recipe should have the same plan. A small
// tokenizer and few rows leave the first.
int64_t now_held() {
  constexpr int64_t kFirst = int64_t{26} << 20, kSlack = int64_t{8} << 20, kStep = int64_t{8} << 20;
  const auto bytes = [](const char* field) { return static_cast<int64_t>(process_bytes(field)); };
  const int64_t bare = bytes("VmHWM") - peak_bytes(Machine{});
  const int64_t more = bytes("VmRSS") - bare - kFirst - kSlack;
  return kFirst + (more > 0 ? (more + kStep - 1) / kStep * kStep : 0);
}

// Every product of halves is oneDNN's, of single precision the large ones, with a weight and with its transpose.
size_t compiled_products(const ModelSpec& spec, const PassesToCome& passes) {
  if (passes.dtype != c10::kFloat) return kCompiledKept;
  std::set<std::array<int64_t, 3>> shapes;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    if (shape.size() != 2 || name == spec.names.embed + ".weight") continue;
    for (const int64_t rows : passes.rows) {
      if (std::min(shape[0], shape[1]) < kLeastCompiled || !is_for_one_dnn(rows, shape[1], shape[0])) continue;
      shapes.insert({rows, shape[1], shape[0]}), shapes.insert({rows, shape[0], shape[1]});
      if (shapes.size() >= kCompiledKept) return kCompiledKept;
    }
  }
  return shapes.size();
}

}  // namespace

int64_t program_share(const ModelSpec& spec, const PassesToCome& passes) {
  return now_held() + kTouched + passes.threads * kPerThread +
         static_cast<int64_t>(compiled_products(spec, passes)) * kCompiled;
}

}  // namespace prentice

#include "quant/nf4.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/parallel.h"
#include "core/vectorised.h"

namespace prentice {

namespace {

constexpr int64_t kGrainValues = 1 << 15;

int64_t blocks_of(int64_t values, int64_t block) { return (values + block - 1) / block; }

// packed codes, eight bytes at a time -> table[code], the high bits first. Sixteen lanes and sixteen values: one
// shuffle. Types of eight bytes have no such register and go one by one.
template <class T>
PRENTICE_VECTORISED void look_up(const T* table, const uint8_t* packed, int64_t pairs, T* out) {
  int64_t i = 0;
#if defined(__GNUC__) && !defined(__clang__)
  if constexpr (sizeof(T) <= 4) {
    using Lane = std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>;
    using Pair = std::conditional_t<sizeof(T) == 4, uint64_t, uint32_t>;
    typedef uint8_t Bytes __attribute__((vector_size(8)));
    typedef Pair Pairs __attribute__((vector_size(8 * sizeof(Pair))));
    typedef Lane Lanes __attribute__((vector_size(16 * sizeof(Lane))));
    Lanes values;
    std::memcpy(&values, table, sizeof(values));
    for (; i + 8 <= pairs; i += 8) {
      Bytes bytes;
      std::memcpy(&bytes, packed + i, sizeof(bytes));
      Pairs both = __builtin_convertvector(bytes, Pairs);
      both = (both >> 4) | ((both & 15) << (8 * sizeof(Lane)));
      const Lanes found = __builtin_shuffle(values, (Lanes)both);
      std::memcpy(out + 2 * i, &found, sizeof(found));
    }
  }
#endif
  for (; i < pairs; ++i) {
    out[2 * i] = table[packed[i] >> 4];
    out[2 * i + 1] = table[packed[i] & 15];
  }
}

struct Source {
  const uint8_t* codes;
  Nf4Scales scales;
  int64_t block;
};

Source source_of(const Nf4& from) {
  Source source{.codes = from.codes.const_data_ptr<uint8_t>(), .scales = {}, .block = from.block};
  if (from.nested()) {
    source.scales = {.code = from.absmax.const_data_ptr<uint8_t>(),
                     .nested = from.nested_absmax.const_data_ptr<float>(),
                     .map = nf4_scale_map().const_data_ptr<float>(),
                     .offset = from.offset};
  } else {
    source.scales.plain = from.absmax.const_data_ptr<float>();
  }
  return source;
}

// Values [begin, end) of one block. A product of scale and value is one of sixteen.
template <class T>
void decode_block(const Source& source, int64_t begin, int64_t end, T* out) {
  T table[16];
  const float scale = nf4_scale(source.scales, begin / source.block);
  for (int q = 0; q < 16; ++q) table[q] = static_cast<T>(kNf4Values[q] * scale);
  if (begin % 2 == 1) *out++ = table[source.codes[begin / 2] & 15], ++begin;
  const int64_t pairs = (end - begin) / 2;
  if (pairs > 0) look_up(table, source.codes + begin / 2, pairs, out);
  if (begin + 2 * pairs < end) out[2 * pairs] = table[source.codes[end / 2] >> 4];
}

template <class T>
void decode_range(const Source& source, int64_t first, int64_t end, T* out) {
  for (int64_t begin = first; begin < end;) {
    const int64_t stop = std::min(end, (begin / source.block + 1) * source.block);
    decode_block(source, begin, stop, out + (begin - first));
    begin = stop;
  }
}

}  // namespace

Nf4 make_nf4(int64_t rows, int64_t columns, bool nested, const at::TensorOptions& options, int64_t block) {
  const auto bytes = options.dtype(at::kByte), floats = options.dtype(at::kFloat);
  const int64_t count = rows * columns, blocks = blocks_of(count, block);
  Nf4 made{.codes = at::empty({(count + 1) / 2, 1}, bytes),
           .absmax = at::empty({blocks}, nested ? bytes : floats),
           .block = block,
           .rows = rows,
           .columns = columns,
           .type = options.dtype().toScalarType()};
  if (nested) made.nested_absmax = at::empty({blocks_of(blocks, kNestedBlock)}, floats);
  return made;
}

int64_t nf4_bytes(int64_t rows, int64_t columns, bool nested, int64_t block) {
  const int64_t count = rows * columns, blocks = blocks_of(count, block);
  return (count + 1) / 2 + (nested ? blocks + 4 * blocks_of(blocks, kNestedBlock) : 4 * blocks);
}

void decode_nf4(const Nf4& from, Tensor& out) {
  const Source source = source_of(from);
  const int64_t count = from.numel();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, out.scalar_type(), "nf4", [&] {
    auto* values = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, blocks_of(count, source.block), std::max<int64_t>(1, kGrainValues / source.block),
                     [&](int64_t begin, int64_t end) {
                       const int64_t first = begin * source.block;
                       decode_range(source, first, std::min(count, end * source.block), values + first);
                     });
  });
}

void decode_nf4(const Nf4& from, int64_t first, std::span<float> out) {
  decode_range(source_of(from), first, first + static_cast<int64_t>(out.size()), out.data());
}

}  // namespace prentice

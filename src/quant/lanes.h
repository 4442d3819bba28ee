// W numbers side by side that go through the same steps: what the block searches are written in, once, for plain C++
// (W = 1), AVX2 (8) and AVX-512 (16). Nothing here but vector extensions of the compiler, so that a file compiled for
// one instruction set leaves no function behind that another file could be linked with.
#pragma once

#include <cstdint>

#define PRENTICE_LANE __attribute__((always_inline)) static inline

namespace prentice {

template <int W>
struct LaneTypes {
  typedef float Floats __attribute__((vector_size(sizeof(float) * W)));
  typedef int32_t Ints __attribute__((vector_size(sizeof(int32_t) * W)));
  typedef uint8_t Bytes __attribute__((vector_size(W)));
};
template <>
struct LaneTypes<1> {
  using Floats = float;
  using Ints = int32_t;
  using Bytes = uint8_t;
};

template <int W>
struct Lanes {
  using F = typename LaneTypes<W>::Floats;
  using I = typename LaneTypes<W>::Ints;  // as a mask: -1 where true, else 0

  PRENTICE_LANE F load(const float* at) {
    F out;
    __builtin_memcpy(&out, at, sizeof out);
    return out;
  }
  PRENTICE_LANE F all(float value) { return value - F{}; }  // minus zero keeps its sign
  PRENTICE_LANE float lane(const F& v, int at) {
    if constexpr (W == 1)
      return v;
    else
      return v[at];
  }
  PRENTICE_LANE int32_t lane(const I& v, int at) {
    if constexpr (W == 1)
      return v;
    else
      return v[at];
  }

  PRENTICE_LANE I less(F a, F b) {
    if constexpr (W == 1)
      return -static_cast<int32_t>(a < b);
    else
      return a < b;
  }
  PRENTICE_LANE I same(F a, F b) {
    if constexpr (W == 1)
      return -static_cast<int32_t>(a == b);
    else
      return a == b;
  }
  PRENTICE_LANE F pick(I mask, F yes, F no) { return mask ? yes : no; }
  PRENTICE_LANE I pick(I mask, I yes, I no) { return mask ? yes : no; }
  PRENTICE_LANE bool any(I mask) {
    int32_t found = 0;
    for (int k = 0; k < W; ++k) found |= lane(mask, k);
    return found != 0;
  }

  // The largest of W numbers that are not NaN.
  PRENTICE_LANE float largest(F v) {
    if constexpr (W > 1) {
      for (int half = W / 2; half > 0; half /= 2) {
        I other;
        for (int k = 0; k < W; ++k) other[k] = k ^ half;
        const F swapped = __builtin_shuffle(v, other);
        v = pick(less(v, swapped), swapped, v);
      }
    }
    return lane(v, 0);
  }

  // The lowest eight bits of each.
  PRENTICE_LANE void store_bytes(I v, uint8_t* at) {
    using Bytes = typename LaneTypes<W>::Bytes;
    Bytes bytes;
    if constexpr (W == 1)
      bytes = static_cast<uint8_t>(v);
    else
      bytes = __builtin_convertvector(v, Bytes);
    __builtin_memcpy(at, &bytes, sizeof bytes);
  }

  PRENTICE_LANE F magnitude(F v) { return __builtin_bit_cast(F, __builtin_bit_cast(I, v) & 0x7fffffff); }
  PRENTICE_LANE F root(F v) {
    if constexpr (W == 1)
      return __builtin_sqrtf(v);
    else {
      F out;
      for (int k = 0; k < W; ++k) out[k] = __builtin_sqrtf(v[k]);
      return out;
    }
  }

  // Half to even, by adding 1.5 * 2^23: what is no number of magnitude below 2^22 comes out as ggml's bits have it.
  PRENTICE_LANE I nearest(F v) { return (__builtin_bit_cast(I, v + 12582912.0f) & 0x007fffff) - 0x00400000; }
  PRENTICE_LANE I clamp(I v, int low, int high) {
    const I lows = I{} + low, highs = I{} + high;
    v = less_int(v, lows) ? lows : v;
    return less_int(highs, v) ? highs : v;
  }
  PRENTICE_LANE I as_i8(I v) { return (v << 24) >> 24; }  // the lowest eight bits, signed
  PRENTICE_LANE F to_floats(I v) {
    if constexpr (W == 1)
      return static_cast<float>(v);
    else
      return __builtin_convertvector(v, F);
  }
  // A magnitude with the sign of another number.
  PRENTICE_LANE F with_sign(F magnitude, F sign) {
    const I sign_bit = __builtin_bit_cast(I, sign) & INT32_MIN;
    return __builtin_bit_cast(F, __builtin_bit_cast(I, magnitude) | sign_bit);
  }
  // Towards zero; every one must be of an i32.
  PRENTICE_LANE I to_ints(F v) {
    if constexpr (W == 1)
      return static_cast<int32_t>(v);
    else
      return __builtin_convertvector(v, I);
  }
  // Towards zero; what no i32 holds becomes -2^31, as the processor has it.
  PRENTICE_LANE I truncated(F v) {
    const I fits = less(magnitude(v), all(2147483648.0f));  // false for NaN
    const F safe = pick(fits, v, F{});
    return fits ? to_ints(safe) : I{} + INT32_MIN;
  }

 private:
  PRENTICE_LANE I less_int(I a, I b) {
    if constexpr (W == 1)
      return -static_cast<int32_t>(a < b);
    else
      return a < b;
  }
};

}  // namespace prentice

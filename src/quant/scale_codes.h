// The second stage of the 256-element types: the scales of a block's groups as codes on a grid of their own, which
// starts at 0 (ggml-quants.c, make_qp_quants). Used where weights are known; without them codes are merely rounded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/search.h"

namespace prentice {

// value ~ result * code, code 0 .. largest, with the least weighted error that nine grids and at most five passes over
// the codes find. n <= 16. 0 and codes 0 when all values are below 1e-15.
float fit_codes(const float* values, const float* weights, int n, int largest, uint8_t* codes);

// sums[g] = the weights of group g, added in order.
void sum_groups(const Groups& groups, float* sums);

// Half to even; what is no number of magnitude below 2^22 as ggml has it.
int nearest_int(float value);

// The 12 bytes that hold eight 6-bit scales and eight 6-bit minimums.
void pack_scales(const uint8_t* scales, const uint8_t* minimums, uint8_t* out);
void unpack_scales(const uint8_t* packed, uint8_t* scales, uint8_t* minimums);

}  // namespace prentice

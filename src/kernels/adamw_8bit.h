// A move of AdamW whose moments are held in 8 bits a value and a scale for each block of values (Dettmers et al. 2022,
// 8-bit Optimizers via Block-wise Quantization), in the bytes of bitsandbytes: state1, absmax1, state2, absmax2.
// Separate from train/optimizer.h, which knows no device's kernels.
#pragma once

#include "core/tensor.h"
#include "quant/dynamic_map.h"

namespace prentice {

struct Moments8Bit {
  Tensor first;          // the weight's shape, u8: places in signed_dynamic_map()
  Tensor first_absmax;   // [blocks] f32, blocks of kDynamicBlock values
  Tensor second;         // the weight's shape, u8: places in unsigned_dynamic_map()
  Tensor second_absmax;  // [blocks] f32
};

// Moments of zero, on the weight's device.
Moments8Bit make_moments_8bit(const Tensor& weight);

struct Adamw8BitOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

// One move of `weight` by `gradient` of the same shape and type, both contiguous and of any floating type; arithmetic
// in f32, that of an f64 weight itself in f64. Moments are rounded to the nearest place of their map, as
// _optimizer_update_8bit_blockwise_cpu of bitsandbytes does with its exact quantization (that of float64 tensors).
// step [3] f32: AdamwStep. skip [] f32: 1 leaves everything as it is. All on one device.
void adamw_8bit(const Tensor& weight, const Tensor& gradient, const Moments8Bit& moments, const Tensor& step,
                const Tensor& skip, const Adamw8BitOptions& options);

}  // namespace prentice

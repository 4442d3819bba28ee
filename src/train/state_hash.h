// A fingerprint of tensors that is cheap enough for every log interval: where two runs part, it parts.
// Separate from SHA-256 (io), which guards files against damage at a hundredth of the speed.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace prentice {

// Sum over the 32-bit words w_i of the tensor's bytes of w_i (2 i + 1), modulo 2^64. Integer arithmetic: the same bits
// on every device and thread count, and any single changed word changes it. Waits for the device.
uint64_t fingerprint(const Tensor& tensor);

// 16 hexadecimal digits over all names and fingerprints, in order.
std::string state_hash(const NamedTensors& tensors);

}  // namespace prentice

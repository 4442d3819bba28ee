// Starting values of adapters: a function of (seed, name), so that neither the order of modules nor the number of
// adapted layers changes them.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor.h"

namespace prentice {

// [rows, columns] f32 on the CPU: uniform in [-bound, bound).
Tensor uniform_matrix(int64_t rows, int64_t columns, double bound, uint64_t seed, std::string_view name);
// [rows, columns] f32 on the CPU: normal(0, deviation^2), by Box and Muller (1958).
Tensor normal_matrix(int64_t rows, int64_t columns, double deviation, uint64_t seed, std::string_view name);

}  // namespace prentice

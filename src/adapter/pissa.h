// PiSSA (Meng et al. 2024): the adapter begins as the largest singular parts of the weight, the base keeps the rest.
#pragma once

#include <cstdint>

#include "nn/linear.h"

namespace prentice {

// Fills the LoRA of `linear`, whose scale is set and whose weight has `rank` singular values, with B A = the rank-R
// part of W / scale: A = sqrt(S/scale) V^T, B = U sqrt(S/scale), and takes scale B A off W, in place (formula 4 and 5).
// first_a and first_b keep the start. By a full decomposition where the smaller side is at most kWholeDecomposition,
// else by subspace iteration with 16 passes (Halko et al. 2011, algorithm 4.4; PEFT's pissa_niter_16), whose start is a
// function of (seed, module name).
void start_from_principal_part(Linear& linear, int64_t rank, uint64_t seed);

inline constexpr int64_t kWholeDecomposition = 1024;

}  // namespace prentice

// Whether the codes of a block of Q4_0, Q4_1, Q5_0 or Q5_1 are some quantizer's at all. With an importance matrix
// llama.cpp tries steps (and offsets), rounds every value of the block to the nearest code of one of them, and then
// stores the step that fits these codes best, which is another one. So codes are not the nearest of what is stored, as
// those of K-blocks are; but there is a step, and in Q4_1 and Q5_1 an offset, of which all of them are.
#pragma once

#include <cstddef>
#include <span>

#include "io/gguf.h"

namespace prentice {

inline constexpr double kNearest = 1e-3;  // of a step: what a tie may go by

bool has_one_step(GgmlType);  // one of the four types

// `wanted`: the 32 values of `block`; `away`: by how much of itself a value may have been rounded on its way. Of Q4_0
// and Q5_0 also whether the stored step can be the best of these codes for any weights of the columns.
bool codes_of_one_step(GgmlType, std::span<const float> wanted, std::span<const std::byte> block, double away);

}  // namespace prentice

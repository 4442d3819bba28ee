// `plan --fit`: which models can be tuned in so much device memory, how, and on rows of which length.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/invocation.h"

namespace prentice {

// "16GB" (10^9 bytes), "16GiB", "16000MB", or a name under configs/hardware. Errors: `usage`.
int64_t fit_bytes(const std::string& word);

// Prints, for each model (an artifact address; none = the shapes that ship), the longest rows that a training step
// takes with a base in four bits, with one in bf16, and of all weights: one row at a time, blocks recomputed, what can
// wait on the host there where that is needed, a tenth of the memory left free, as a recipe decides for itself. The
// exit status. Errors: those of open_shape.
int list_what_fits(int64_t memory_bytes, std::vector<std::string> models, const Invocation&);

}  // namespace prentice

// Rows of values as blocks: in batches over all cores, each weighted by what is known of the importance of columns.
#pragma once

#include <cstddef>
#include <span>

#include "quant/blocks.h"

namespace prentice {

// `values` are whole blocks, or whole rows of importance.size() values where that is not empty; `out` has room for
// their bytes. Errors: `numerical` for a value that is not finite; `model` when a block's step is larger than an f16.
void encode_blocks(std::span<const float> values, const BlockType&, std::span<const float> importance, std::byte* out,
                   const SearchPath& path = fastest_path());

// Whether every magnitude is below the limit, which no NaN is.
bool all_below(std::span<const float> values, float limit);
bool all_finite(std::span<const float> values);  // over all cores

}  // namespace prentice

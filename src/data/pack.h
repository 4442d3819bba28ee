// Puts the sequences of one step into few micro-batches without padding.
// Separate because it is arithmetic on lengths, tested without a tensor.
#pragma once

#include <cstdint>
#include <vector>

namespace prentice {

// Bins of indices into `lengths`, each of at most `capacity` tokens (0 = no limit); a longer sequence stands alone.
// Best fit decreasing (Johnson 1974: at most 11/9 of the optimum plus one bin), ties by position, so it depends on the
// lengths alone. Indices ascend within a bin and bins ascend by their first index.
std::vector<std::vector<int64_t>> pack_bins(const std::vector<int64_t>& lengths, int64_t capacity);

}  // namespace prentice

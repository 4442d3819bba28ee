// Changes of a GGUF file that keep most of it a GGUF file: without them nearly every change is refused at the first
// count. Separate from libFuzzer's entry points, which know no format.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prentice::fuzz {

// Changes the file in place, growing to at most `max_size`; `seed` decides. Returns the new size, 0 when it found no
// structure.
size_t mutate_gguf(uint8_t* data, size_t size, size_t max_size, unsigned seed);

}  // namespace prentice::fuzz

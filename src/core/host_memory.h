// How much memory this process may use on the host.
#pragma once

#include <cstdint>

namespace prentice {

// The machine's memory or the control group's limit (version 2, else 1), whichever is smaller, in bytes.
uint64_t host_memory_bytes();

}  // namespace prentice

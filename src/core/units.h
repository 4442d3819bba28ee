// Bytes, counts and durations as a person reads them.
#pragma once

#include <cstdint>
#include <string>

namespace prentice {

std::string human_bytes(double bytes);       // 850 MB, 6.2 GB (decimal units)
std::string human_count(double count);       // 950, 18.4k, 1.2M
std::string human_duration(double seconds);  // 42 s, 2:51, 01:12:40

}  // namespace prentice

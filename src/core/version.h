// The program's own version: what --version, doctor and every run.json say.
#pragma once

namespace prentice {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace prentice

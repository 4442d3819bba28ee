// What this program is: its version and those of the libraries that shape its results.
#pragma once

#include <string>

#include "io/json.h"

namespace prentice {

std::string version_line();  // "prentice 0.1.0 (LibTorch 2.11.0)"
Json version_json();

}  // namespace prentice

// Settings that the hub's tools share through the environment.
#pragma once

#include <cstdlib>
#include <string>

namespace prentice {

// "" where it is not set.
inline std::string environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace prentice

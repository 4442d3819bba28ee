#include "cli/version.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "core/version.h"

namespace prentice {

std::string version_line() { return fmt::format("prentice {} (LibTorch {})", kVersion, TORCH_VERSION); }

Json version_json() {
  return Json::Object{{"schema", 1}, {"prentice", kVersion}, {"torch", TORCH_VERSION}, {"compiler", __VERSION__}};
}

}  // namespace prentice

#include "core/out_of_memory.h"

#include <new>
#include <regex>

#include "core/error.h"

namespace prentice {

std::optional<std::string> out_of_memory(const std::exception& error) {
  if (dynamic_cast<const Error*>(&error)) return std::nullopt;
  const std::string what = error.what();
  const bool told = what.find("can't allocate memory") != what.npos || what.find("out of memory") != what.npos;
  if (!told) return dynamic_cast<const std::bad_alloc*>(&error) ? std::optional<std::string>("") : std::nullopt;
  // LibTorch: "you tried to allocate 4096 bytes" on the host, "Tried to allocate 20.00 MiB" on a device.
  static const std::regex asked("[Tt]ried to allocate ([0-9.]+ [A-Za-z]+)");
  std::smatch found;
  return std::regex_search(what, found, asked) ? found[1].str() : "";
}

}  // namespace prentice

#include "proof/check.h"

#include <fmt/format.h>

#include <utility>

namespace prentice {

Check equal_check(std::string name, bool equal, std::string detail) {
  return {
      .name = std::move(name), .passed = equal, .value = equal ? 0.0 : 1.0, .limit = 0, .detail = std::move(detail)};
}

Check read_strictly(size_t number, std::string_view what) {
  return equal_check("container", true, fmt::format("{} {} read strictly", number, what));
}

Check at_most_check(std::string name, double value, double limit, std::string detail) {
  return {
      .name = std::move(name), .passed = value <= limit, .value = value, .limit = limit, .detail = std::move(detail)};
}

Check at_least_check(std::string name, double value, double limit, std::string detail) {
  return {
      .name = std::move(name), .passed = value >= limit, .value = value, .limit = limit, .detail = std::move(detail)};
}

}  // namespace prentice

// One finding of a verification.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace prentice {

struct Check {
  std::string name;
  bool passed = false;
  double value = 0;  // what was measured
  double limit = 0;  // the most that passes; of what is to be kept (a share), the least
  std::string detail;
};
Check equal_check(std::string name, bool equal, std::string detail);
// Nothing was in the way, or reading would have thrown: "NUMBER WHAT read strictly".
Check read_strictly(size_t number, std::string_view what);
Check at_most_check(std::string name, double value, double limit, std::string detail);
Check at_least_check(std::string name, double value, double limit, std::string detail);

}  // namespace prentice

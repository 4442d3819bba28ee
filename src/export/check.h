// One finding of a verification.
#pragma once

#include <string>

namespace prentice {

struct Check {
  std::string name;
  bool passed = false;
  double value = 0;  // what was measured
  double limit = 0;  // the most that passes; of what is to be kept (a share), the least
  std::string detail;
};
Check equal_check(std::string name, bool equal, std::string detail);
Check at_most_check(std::string name, double value, double limit, std::string detail);
Check at_least_check(std::string name, double value, double limit, std::string detail);

}  // namespace prentice

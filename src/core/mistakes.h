// All mistakes of one check at once: collected while looking, thrown together when the looking is done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace prentice {

class Mistakes {
 public:
  static constexpr size_t kShown = 20;

  void add(Diagnostic diagnostic);
  void add(std::string message, std::string hint = "");
  void merge(const Mistakes& other);  // as if other's were added now
  bool empty() const { return count_ == 0; }
  int64_t count() const { return count_; }

  // Throws the first kShown and, if there are more, one line with their number.
  void throw_if_any(ExitCode code) const;

 private:
  std::vector<Diagnostic> shown_;
  int64_t count_ = 0;
};

}  // namespace prentice

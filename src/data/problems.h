// What is wrong with the data, collected so that one error shows all bad records and not only the first.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace prentice {

class Problems {
 public:
  static constexpr size_t kShown = 20;

  void add(Diagnostic diagnostic);
  void merge(const Problems& other);  // as if other's were added now
  bool empty() const { return count_ == 0; }
  int64_t count() const { return count_; }

  // Throws `data` with the first kShown problems and, if there are more, one line with their number.
  void throw_if_any() const;

  // Where `collect` puts an error. With `inside`, lines and columns of the error count from the place's own: they are
  // of a text that begins there, after `indent` bytes of the line.
  struct Place {
    const std::string& file;
    int64_t line = 0;
    bool inside = false;
    size_t indent = 0;
  };

  // Runs `body`; an Error with code `malformed` or `data` becomes problems of that place. True when there was none.
  template <class Body>
  bool collect(const Place& place, Body&& body) {
    try {
      std::forward<Body>(body)();
      return true;
    } catch (const Error& error) {
      if (error.code() != ExitCode::malformed && error.code() != ExitCode::data) throw;
      for (const auto& diagnostic : error.diagnostics()) add(placed(diagnostic, place));
      return false;
    }
  }

 private:
  static Diagnostic placed(Diagnostic diagnostic, const Place& place);

  std::vector<Diagnostic> shown_;
  int64_t count_ = 0;
};

// A bad record: thrown by whatever looks at one record, placed by Problems::collect.
[[noreturn]] void bad_record(std::string message, std::string hint = "");

// 12345 -> "12,345".
std::string with_commas(int64_t number);

// "a, b, c".
std::string joined(const std::vector<std::string>& words);

}  // namespace prentice

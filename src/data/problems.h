// What is wrong with the data: all bad records in one error, each with its place.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/mistakes.h"

namespace prentice {

class Problems {
 public:
  void add(Diagnostic diagnostic) { mistakes_.add(std::move(diagnostic)); }
  void merge(const Problems& other) { mistakes_.merge(other.mistakes_); }  // as if other's were added now
  bool empty() const { return mistakes_.empty(); }
  int64_t count() const { return mistakes_.count(); }
  void throw_if_any() const { mistakes_.throw_if_any(ExitCode::data); }

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

  Mistakes mistakes_;
};

// A bad record: thrown by whatever looks at one record, placed by Problems::collect.
[[noreturn]] void bad_record(std::string message, std::string hint = "");

// "a, b, c".
std::string joined(const std::vector<std::string>& words);

}  // namespace prentice

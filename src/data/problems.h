// What is wrong with the data: all bad records in one error, each with its place.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/mistakes.h"
#include "data/origin.h"

namespace prentice {

class Problems {
 public:
  void add(Diagnostic diagnostic) { mistakes_.add(std::move(diagnostic)); }
  void merge(const Problems& other) { mistakes_.merge(other.mistakes_); }  // as if other's were added now
  bool empty() const { return mistakes_.empty(); }
  int64_t count() const { return mistakes_.count(); }
  void throw_if_any() const { mistakes_.throw_if_any(ExitCode::data); }

  // Runs `body`; an Error with code `malformed` or `data` becomes problems of that row. True when there was none.
  template <class Body>
  bool collect(const Origin& origin, Body&& body) {
    return collect_placed(std::forward<Body>(body), [&](const Diagnostic& diagnostic) {
      Diagnostic found = mistake_at(origin, diagnostic.message, diagnostic.hint);
      found.key = diagnostic.key;
      return found;
    });
  }

  // Where a text lies that is read by itself: from `indent` bytes after the beginning of a line.
  struct TextPlace {
    const std::string& file;
    int64_t line = 0;
    size_t indent = 0;
  };
  // As collect, for a mistake in such a text: its lines and columns become the file's.
  template <class Body>
  bool collect_inside(const TextPlace& place, Body&& body) {
    return collect_placed(std::forward<Body>(body),
                          [&](const Diagnostic& diagnostic) { return placed(diagnostic, place); });
  }

 private:
  template <class Body, class Placing>
  bool collect_placed(Body&& body, const Placing& placing) {
    try {
      std::forward<Body>(body)();
      return true;
    } catch (const Error& error) {
      if (error.code() != ExitCode::malformed && error.code() != ExitCode::data) throw;
      for (const auto& diagnostic : error.diagnostics()) add(placing(diagnostic));
      return false;
    }
  }
  static Diagnostic placed(Diagnostic diagnostic, const TextPlace& place);

  Mistakes mistakes_;
};

// A bad record: thrown by whatever looks at one record, placed by Problems::collect.
[[noreturn]] void bad_record(std::string message, std::string hint = "");

// "a, b, c".
std::string joined(const std::vector<std::string>& words);

}  // namespace prentice

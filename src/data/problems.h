// What is wrong with the data: all bad records in one error, each with its place; those that are wrong in the same
// words are told once, with their places.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/origin.h"

namespace prentice {

class Problems {
 public:
  void add(const Origin& origin, Diagnostic diagnostic);  // the diagnostic has no place
  void add(const Diagnostic& placed);
  void merge(const Problems& other);  // as if other's were added now
  bool empty() const { return count_ == 0; }
  int64_t count() const { return count_; }
  // Throws them in file order, at most kShown different ones and then a line with the number of the others.
  void throw_if_any() const;

  // Runs `body`; an Error with code `malformed` or `data` becomes problems of that row. True when there was none.
  template <class Body>
  bool collect(const Origin& origin, Body&& body) {
    return collect_each(std::forward<Body>(body), [&](const Diagnostic& diagnostic) { add(origin, diagnostic); });
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
    return collect_each(std::forward<Body>(body),
                        [&](const Diagnostic& diagnostic) { add(placed(diagnostic, place)); });
  }

  static constexpr size_t kShown = 20;

 private:
  // Problems in the same words.
  struct Group {
    Diagnostic said;  // without a line
    int64_t count = 0;
    std::vector<Origin> origins;  // the first ones
  };

  template <class Body, class Adding>
  bool collect_each(Body&& body, const Adding& adding) {
    try {
      std::forward<Body>(body)();
      return true;
    } catch (const Error& error) {
      if (error.code() != ExitCode::malformed && error.code() != ExitCode::data) throw;
      for (const auto& diagnostic : error.diagnostics()) adding(diagnostic);
      return false;
    }
  }
  static Diagnostic placed(Diagnostic diagnostic, const TextPlace& place);
  void add_group(const Group&);

  std::vector<Group> shown_;
  int64_t count_ = 0;
};

// A bad record: thrown by whatever looks at one record, placed by Problems::collect.
[[noreturn]] void bad_record(std::string message, std::string hint = "");

// "a, b, c".
std::string joined(const std::vector<std::string>& words);

}  // namespace prentice

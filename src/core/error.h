// The one exception type, the exit codes a user may rely on, and the form of every message.
// Separate because each folder throws it and only the command line prints it.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prentice {

// Fixed by the contract with users. `malformed` never leaves the program: code that reads bytes throws it, and the
// caller that knows what the bytes were for turns it into `data` or `model` (see with_context).
enum class ExitCode {
  malformed = -1,
  ok = 0,
  internal = 1,
  usage = 2,
  data = 3,
  model = 4,
  storage = 5,
  numerical = 6,
  memory = 7,
  distributed = 8,
  gate = 9,
};

// One mistake. Printed as `error: FILE:LINE:COL: key: message` and, if any, `hint: ...`; empty parts are left out.
struct Diagnostic {
  std::string message;
  std::string hint;
  std::string file;
  int line = 0;    // 1-based; 0 = unknown
  int column = 0;  // 1-based; 0 = unknown
  std::string key;
};

std::string to_string(const Diagnostic&);  // without the leading "error: " and without the hint

class Error : public std::exception {
 public:
  Error(ExitCode code, std::vector<Diagnostic> diagnostics);
  Error(ExitCode code, std::string message, std::string hint = "");

  ExitCode code() const { return code_; }
  const std::vector<Diagnostic>& diagnostics() const { return diagnostics_; }
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  ExitCode code_;
  std::vector<Diagnostic> diagnostics_;
  std::string what_;
};

[[noreturn]] void fail(ExitCode code, std::string message, std::string hint = "");

// Prefixes `context` (usually a path) to every message of `error` and gives a malformed one the code `code`.
[[noreturn]] void rethrow_with_context(const Error& error, ExitCode code, std::string_view context);

// Runs `body`; an Error leaves as "context: message", with `code` if it was `malformed`.
template <class Body>
auto with_context(ExitCode code, std::string_view context, Body&& body) -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (const Error& error) {
    rethrow_with_context(error, code, context);
  }
}

// 12345 -> "12,345".
std::string with_commas(int64_t number);

// The candidate closest to `word` by edit distance, or "" when none is near enough to suggest.
std::string closest_match(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace prentice

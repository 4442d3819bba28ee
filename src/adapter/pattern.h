// Regular expressions over module names, in the dialect of Python's `re` that PEFT folders use. Our own small matcher
// because patterns come from files: it counts its steps, so that no pattern can hang the program.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prentice {

class Pattern {
 public:
  // Literals, . [] () (?:) (?P<n>) (?=) (?!) | * + ? {m,n} and their lazy forms, ^ $ \A \Z \d \w \s \D \W \S.
  // Errors: `malformed`, with the position and what stands there (look-behind, back references and flags are refused).
  explicit Pattern(std::string source);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // True when the whole text matches (re.fullmatch). Errors: `malformed` when that takes too many steps.
  bool matches(std::string_view text) const;
  const std::string& source() const { return source_; }

  struct Node;  // of the parsed expression

 private:
  std::string source_;
  std::unique_ptr<Node> root_;
};

// True when the text holds a character that only a regular expression would: not letters, digits, _, - and dots.
bool looks_like_pattern(std::string_view text);

}  // namespace prentice

#include "io/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "core/error.h"
#include "io/file.h"

namespace prentice {

namespace {

// Hands the text to the library byte by byte and lets the handler see how far it came: the library reports a position
// for syntax errors only.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** progress) : at_(at), progress_(progress) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *progress_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    auto before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** progress_;
};

Diagnostic diagnostic_at(std::string_view text, size_t offset, std::string message) {
  offset = std::min(offset, text.size());
  const auto before = text.substr(0, offset);
  const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  const auto code_points = std::count_if(before.begin() + line_start, before.end(),
                                         [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
  return {.message = std::move(message),
          .line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          .column = static_cast<int>(code_points) + 1};
}

// The library's own words without its prefix and position, short enough for one line and plain ASCII.
std::string reworded(std::string_view what) {
  const auto dash = what.find(" - ");
  auto text = dash == std::string_view::npos ? what : what.substr(dash + 3);
  if (const auto bracket = text.find("] "); dash == std::string_view::npos && bracket != std::string_view::npos) {
    text = text.substr(bracket + 2);
  }
  std::string out = "invalid JSON: ";
  for (const char c : text.substr(0, 160)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return text.size() > 160 ? out + "..." : out;
}

// Builds the tree out of the library's events. A false return stops the parse; `problem` says why.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view text, const JsonFileLimits& limits) : text_(text), limits_(limits), at_(text.data()) {}

  const char** progress() { return &at_; }
  Json& root() { return root_; }
  std::optional<Diagnostic>& problem() { return problem_; }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) {
    return value <= uint64_t{INT64_MAX} ? add(static_cast<int64_t>(value)) : add(value);
  }
  bool number_float(double value, const std::string& literal) {
    // An integer too large for 64 bits arrives here as an approximation.
    const bool is_integer = literal.find_first_of(".eE") == std::string::npos;
    return is_integer ? add(Json::BigNumber{literal}) : add(value);
  }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(std::vector<uint8_t>&) { return stop(0, "invalid JSON: binary value"); }
  bool start_object(size_t) { return open(Json::Object{}); }
  bool start_array(size_t) { return open(Json::Array{}); }
  bool end_array() { return close(); }
  bool end_object() {
    keys_.pop_back();
    return close();
  }
  bool key(std::string& name) {
    if (!keys_.back().insert(name).second) return stop(string_start(), "duplicate key \"" + name + "\"");
    stack_.back()->as_object().emplace_back(std::move(name), Json());
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    return stop(position == 0 ? 0 : position - 1, reworded(error.what()));
  }

 private:
  Json* place(Json&& value) {
    if (stack_.empty()) return &(root_ = std::move(value));
    auto& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.as_array().back();
    }
    return &(parent.as_object().back().second = std::move(value));
  }
  template <class T>
  bool add(T&& value) {
    if (++values_ > limits_.max_values) {
      return stop(offset(), "more than " + std::to_string(limits_.max_values) + " values");
    }
    place(Json(std::forward<T>(value)));
    return true;
  }
  template <class T>
  bool open(T&& container) {
    if (static_cast<int>(stack_.size()) >= limits_.max_depth) {
      return stop(offset() - 1, "nested deeper than " + std::to_string(limits_.max_depth) + " levels");
    }
    if (++values_ > limits_.max_values) {
      return stop(offset(), "more than " + std::to_string(limits_.max_values) + " values");
    }
    if constexpr (std::is_same_v<std::decay_t<T>, Json::Object>) keys_.emplace_back();
    // Pointers on the stack stay valid: only the innermost container grows.
    stack_.push_back(place(Json(std::forward<T>(container))));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }
  bool stop(size_t offset, std::string message) {
    problem_ = diagnostic_at(text_, offset, std::move(message));
    return false;
  }
  size_t offset() const { return static_cast<size_t>(at_ - text_.data()); }
  // Where the string that was just read begins: its opening quote is the nearest one without a backslash before it.
  size_t string_start() const {
    for (size_t i = offset() - 1; i-- > 0;) {
      if (text_[i] != '"') continue;
      size_t backslashes = 0;
      while (backslashes < i && text_[i - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) return i;
    }
    return 0;
  }

  std::string_view text_;
  JsonFileLimits limits_;
  const char* at_;
  Json root_;
  std::vector<Json*> stack_;
  std::vector<std::unordered_set<std::string>> keys_;
  uint64_t values_ = 0;
  std::optional<Diagnostic> problem_;
};

struct ParseResult {
  Json json;
  std::optional<Diagnostic> problem;
};

ParseResult parse_text(std::string_view text, const JsonFileLimits& limits) {
  // The library takes a NUL for the end of the text and would never look at what follows.
  if (const auto nul = text.find('\0'); nul != std::string_view::npos) {
    return {.problem = diagnostic_at(text, nul, "invalid JSON: NUL byte")};
  }
  TreeBuilder builder(text, limits);
  const CountingIterator first(text.data(), builder.progress());
  const CountingIterator last(text.data() + text.size(), builder.progress());
  const bool parsed = nlohmann::json::sax_parse(first, last, &builder);
  if (!parsed && !builder.problem()) builder.problem() = Diagnostic{.message = "invalid JSON"};
  return {.json = std::move(builder.root()), .problem = std::move(builder.problem())};
}

}  // namespace

Json Json::parse(std::string_view text, int max_depth) { return parse(text, JsonFileLimits{.max_depth = max_depth}); }

Json Json::parse(std::string_view text, const JsonFileLimits& limits) {
  auto result = parse_text(text, limits);
  if (result.problem) throw Error(ExitCode::malformed, std::vector{std::move(*result.problem)});
  return std::move(result.json);
}

Json Json::parse_file(const std::filesystem::path& path) { return parse_file(path, JsonFileLimits{}); }

Json Json::parse_file(const std::filesystem::path& path, const JsonFileLimits& limits) {
  auto result = parse_text(read_text_file(path, limits.max_bytes), limits);
  if (result.problem) {
    result.problem->file = path.string();
    throw Error(ExitCode::malformed, std::vector{std::move(*result.problem)});
  }
  return std::move(result.json);
}

}  // namespace prentice

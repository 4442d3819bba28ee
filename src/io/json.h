// Strict JSON: the only place that knows the JSON library. Refuses duplicate keys, NUL bytes, trailing text, deep
// nesting and invalid UTF-8; keeps the order of members; never converts a number that nobody asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace prentice {

struct JsonFileLimits {
  uint64_t max_bytes = uint64_t{1} << 30;
  int max_depth = 256;
  uint64_t max_values = UINT64_MAX;  // bounds the memory that a small hostile text can claim
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;  // in file order
  // A number that fits neither int64 nor uint64 exactly as written (model_max_length 1000000000000000019884624838656).
  struct BigNumber {
    std::string text;
    bool operator==(const BigNumber&) const = default;
  };
  using Value = std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, BigNumber, std::string, Array, Object>;

  Json() : value_(nullptr) {}
  Json(std::nullptr_t) : value_(nullptr) {}
  Json(bool value) : value_(value) {}
  Json(int value) : value_(int64_t{value}) {}
  Json(int64_t value) : value_(value) {}
  Json(uint64_t value) : value_(value) {}
  Json(double value) : value_(value) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(BigNumber value) : value_(std::move(value)) {}
  Json(Array value) : value_(std::move(value)) {}
  Json(Object value) : value_(std::move(value)) {}

  // Errors: `malformed`, with line and column of the offending byte.
  static Json parse(std::string_view text, int max_depth = 256);
  static Json parse(std::string_view text, const JsonFileLimits& limits);
  // Reads and parses; errors name the file. A file that is missing or unreadable is `usage`, a bad one `malformed`.
  static Json parse_file(const std::filesystem::path& path, const JsonFileLimits& limits);
  static Json parse_file(const std::filesystem::path& path);

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_integer() const;  // exactly an integer literal within int64
  bool is_number() const;   // any numeric literal
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }
  std::string_view kind() const;  // "string", "integer", ... for messages

  // Typed access. Errors: `malformed` "expected WANTED, got KIND". An integer is accepted where a real is wanted.
  bool as_bool() const;
  int64_t as_integer() const;
  double as_number() const;
  const std::string& as_string() const;
  const Array& as_array() const;
  Array& as_array();
  const Object& as_object() const;
  Object& as_object();

  const Json* find(std::string_view key) const;  // nullptr when absent or when this is no object
  const Json& at(std::string_view key) const;    // errors: `malformed` "KEY is missing"
  Json& operator[](std::string_view key);        // inserts null at the end when absent
  void push_back(Json value);                    // this must be an array (or null, which becomes one)

  // The text of Python's json.dumps(ensure_ascii=False): shortest digits that read back to the same double, `, ` and
  // `: `; indent 0 = one line. A number that is not finite becomes null (JSON has no word for it).
  std::string dump(int indent = 0) const;

  const Value& value() const { return value_; }
  bool operator==(const Json&) const = default;

 private:
  Value value_;
};

}  // namespace prentice

#include "io/gguf_values.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "core/error.h"

namespace prentice {

namespace {

[[noreturn]] void fail_kind(const GgufReader& file, std::string_view key, const GgufValue& value,
                            std::string_view wanted) {
  fail(ExitCode::model, file.path().string() + ": key " + std::string(key) + ": expected " + std::string(wanted) +
                            ", got " + std::string(gguf_type_name(static_cast<GgufType>(value.index()))));
}

double shortest(float value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  double found = 0;
  std::from_chars(text, end, found);
  return found;
}

constexpr size_t kLongestText = 1 << 20;  // of chat templates, the longest there are, a few 10 kB

template <class T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

}  // namespace

std::optional<int64_t> gguf_integer(const GgufReader& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  return std::visit(
      [&](const auto& v) -> int64_t {
        if constexpr (kIsInteger<std::decay_t<decltype(v)>>) {
          if (std::in_range<int64_t>(v)) return static_cast<int64_t>(v);
        }
        fail_kind(file, key, *value, "a whole number");
      },
      *value);
}

std::optional<double> gguf_number(const GgufReader& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  double found = 0;
  if (const auto* single = std::get_if<float>(value)) {
    found = std::isfinite(*single) ? shortest(*single) : *single;
  } else if (const auto* wide = std::get_if<double>(value)) {
    found = *wide;
  } else if (std::holds_alternative<std::string>(*value) || std::holds_alternative<GgufArray>(*value) ||
             std::holds_alternative<bool>(*value)) {
    fail_kind(file, key, *value, "a number");
  } else {
    found = static_cast<double>(*gguf_integer(file, key));
  }
  if (!std::isfinite(found)) {
    fail(ExitCode::model, file.path().string() + ": key " + std::string(key) + " is not finite");
  }
  return found;
}

std::optional<bool> gguf_flag(const GgufReader& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  fail_kind(file, key, *value, "a bool");
}

std::optional<std::string> gguf_text(const GgufReader& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  const auto* text = std::get_if<std::string>(value);
  if (text == nullptr) fail_kind(file, key, *value, "a string");
  if (text->size() > kLongestText) {
    fail(ExitCode::model, fmt::format("{}: key {}: a text of {} bytes, at most {} are read", file.path().string(), key,
                                      text->size(), kLongestText));
  }
  return *text;
}

const GgufArray* gguf_list(const GgufReader& file, std::string_view key) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return nullptr;
  if (const auto* list = std::get_if<GgufArray>(value)) return list;
  fail_kind(file, key, *value, "an array");
}

}  // namespace prentice

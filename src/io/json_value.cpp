#include <algorithm>

#include "core/error.h"
#include "io/json.h"

namespace prentice {

namespace {

[[noreturn]] void fail_kind(std::string_view wanted, const Json& got) {
  fail(ExitCode::malformed, "expected " + std::string(wanted) + ", got " + std::string(got.kind()));
}

template <class T>
T& typed(auto& value, std::string_view wanted, const Json& json) {
  auto* found = std::get_if<std::remove_const_t<T>>(&value);
  if (found == nullptr) fail_kind(wanted, json);
  return *found;
}

}  // namespace

bool Json::is_integer() const { return std::holds_alternative<int64_t>(value_); }

bool Json::is_number() const {
  return std::holds_alternative<int64_t>(value_) || std::holds_alternative<uint64_t>(value_) ||
         std::holds_alternative<double>(value_) || std::holds_alternative<BigNumber>(value_);
}

std::string_view Json::kind() const {
  static constexpr std::string_view kKinds[] = {
      "null",   "boolean", "integer", "integer beyond 64 bits", "number", "integer beyond 64 bits",
      "string", "list",    "object"};
  static_assert(std::size(kKinds) == std::variant_size_v<Value>);
  return kKinds[value_.index()];
}

bool Json::as_bool() const { return typed<const bool>(value_, "a boolean", *this); }
int64_t Json::as_integer() const { return typed<const int64_t>(value_, "an integer", *this); }

double Json::as_number() const {
  if (const auto* integer = std::get_if<int64_t>(&value_)) return static_cast<double>(*integer);
  if (const auto* integer = std::get_if<uint64_t>(&value_)) return static_cast<double>(*integer);
  return typed<const double>(value_, "a number", *this);
}

const std::string& Json::as_string() const { return typed<const std::string>(value_, "a string", *this); }
const Json::Array& Json::as_array() const { return typed<const Array>(value_, "a list", *this); }
Json::Array& Json::as_array() { return typed<Array>(value_, "a list", *this); }
const Json::Object& Json::as_object() const { return typed<const Object>(value_, "an object", *this); }
Json::Object& Json::as_object() { return typed<Object>(value_, "an object", *this); }

const Json* Json::find(std::string_view key) const {
  const auto* object = std::get_if<Object>(&value_);
  if (object == nullptr) return nullptr;
  const auto found = std::ranges::find(*object, key, &Member::first);
  return found == object->end() ? nullptr : &found->second;
}

const Json& Json::at(std::string_view key) const {
  if (!is_object()) fail_kind("an object", *this);
  const auto* found = find(key);
  if (found == nullptr) fail(ExitCode::malformed, "\"" + std::string(key) + "\" is missing");
  return *found;
}

Json& Json::operator[](std::string_view key) {
  if (is_null()) value_ = Object{};
  auto& object = as_object();
  const auto found = std::ranges::find(object, key, &Member::first);
  return found == object.end() ? object.emplace_back(std::string(key), Json()).second : found->second;
}

void Json::push_back(Json value) {
  if (is_null()) value_ = Array{};
  as_array().push_back(std::move(value));
}

}  // namespace prentice

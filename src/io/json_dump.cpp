#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

#include "io/json.h"

namespace prentice {

namespace {

void dump_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) {
          out += c;
        } else {
          out += "\\u00";
          out += kHex[c >> 4];
          out += kHex[c & 15];
        }
    }
  }
  out += '"';
}

// Python's repr: the shortest digits, with an exponent below 1e-4 and from 1e16 up.
void dump_double(double value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[40];
  char* end = std::to_chars(buffer, buffer + sizeof buffer - 1, value, std::chars_format::scientific).ptr;
  *end = '\0';
  const std::string_view text(buffer, end - buffer);
  const int exponent = std::atoi(buffer + text.find('e') + 1);  // to_chars always writes one
  if (exponent < -4 || exponent >= 16) {
    out += text;
    return;
  }
  char fixed[40];
  const auto fixed_end = std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed).ptr;
  const std::string_view digits(fixed, fixed_end - fixed);
  out += digits;
  if (digits.find('.') == std::string_view::npos) out += ".0";
}

class Dumper {
 public:
  Dumper(int indent, std::string& out) : indent_(indent), out_(out) {}

  void dump(const Json& json) {
    std::visit([this](const auto& value) { dump_value(value); }, json.value());
  }

 private:
  void dump_value(std::nullptr_t) { out_ += "null"; }
  void dump_value(bool value) { out_ += value ? "true" : "false"; }
  void dump_value(int64_t value) { out_ += std::to_string(value); }
  void dump_value(uint64_t value) { out_ += std::to_string(value); }
  void dump_value(double value) { dump_double(value, out_); }
  void dump_value(const Json::BigNumber& value) { out_ += value.text; }
  void dump_value(const std::string& value) { dump_string(value, out_); }
  void dump_value(const Json::Array& array) {
    dump_items('[', array, ']', [this](const Json& item) { dump(item); });
  }
  void dump_value(const Json::Object& object) {
    dump_items('{', object, '}', [this](const Json::Member& member) {
      dump_string(member.first, out_);
      out_ += ": ";
      dump(member.second);
    });
  }
  template <class Items, class Write>
  void dump_items(char open, const Items& items, char close, Write&& write) {
    out_ += open;
    ++depth_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += indent_ > 0 ? "," : ", ";
      first = false;
      new_line();
      write(item);
    }
    --depth_;
    if (!first) new_line();
    out_ += close;
  }
  void new_line() {
    if (indent_ > 0) out_.append(1, '\n').append(static_cast<size_t>(indent_) * depth_, ' ');
  }

  int indent_;
  std::string& out_;
  size_t depth_ = 0;
};

}  // namespace

std::string Json::dump(int indent) const {
  std::string out;
  Dumper(indent, out).dump(*this);
  return out;
}

}  // namespace prentice

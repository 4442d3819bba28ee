#include "text/markers.h"

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"
#include "text/chat_render.h"

namespace prentice {
namespace {

constexpr char32_t kPlanes[] = {0xf0000, 0x100000};  // the supplementary private-use areas
constexpr char32_t kPlaneSize = 0xfffe;

// The code point at text[at], or 0 for one of fewer than four bytes: markers always have four.
char32_t four_byte_character(std::string_view text, size_t at) {
  if (utf8_size_by_lead(text, at) != 4 || at + 4 > text.size()) return 0;
  auto bits = [&](size_t offset) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + offset]) & 0x3f);
  };
  return (static_cast<char32_t>(static_cast<unsigned char>(text[at]) & 0x07) << 18) | (bits(1) << 12) | (bits(2) << 6) |
         bits(3);
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

bool is_space_at(std::string_view text, size_t at) {
  auto c = static_cast<unsigned char>(text[at]);
  return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
}

class Marking {
 public:
  Marking(MarkedConversation& out, MarkerPlan plan) : out_(out), plan_(plan) {}

  void mark_message(Json& message, size_t index) {
    index_ = index;
    if (plan_.everything) {
      for (const auto name : kReasoningNames) mark_member(message, name, false);
    }
    Json* calls = member(message, "tool_calls");
    bool has_calls = calls && calls->is_array() && !calls->as_array().empty();
    // A template often writes an empty content in another way than none; beside calls it needs no marker.
    mark_member(message, "content", plan_.everything && !has_calls);
    if (!has_calls) return;
    in_call_ = true;
    for (auto& call : calls->as_array()) {
      Json* function = member(call, "function");
      Json& called = function ? *function : call;
      if (plan_.everything) mark_member(called, "name", false);
      if (Json* arguments = member(called, "arguments")) mark_strings(*arguments);
    }
    in_call_ = false;
  }

 private:
  static Json* member(Json& object, std::string_view name) { return object.find(name) ? &object[name] : nullptr; }

  void mark_member(Json& object, std::string_view name, bool even_empty) {
    Json* value = member(object, name);
    if (!value || !value->is_string()) return;
    *value = marked(value->as_string(), even_empty);
  }

  void mark_strings(Json& value) {
    if (value.is_string()) value = marked(value.as_string(), false);
    if (value.is_array()) {
      for (auto& item : value.as_array()) mark_strings(item);
    } else if (value.is_object()) {
      for (auto& [name, item] : value.as_object()) mark_strings(item);
    }
  }

  std::string marked(const std::string& text, bool even_empty) {
    size_t first = 0, last = text.size();
    while (first < text.size() && is_space_at(text, first)) ++first;
    while (last > first && is_space_at(text, last - 1)) --last;
    if (first == last && !even_empty) return text;
    auto pair = static_cast<char32_t>(out_.pairs.size());
    if (pair >= kPlaneSize / 2) fail(ExitCode::data, "a conversation has more than 32,000 assistant texts");
    size_t tail = last > first ? last - 1 : last;
    while (tail > first && is_continuation(text[tail])) --tail;
    bool inside = plan_.inside && tail > first;
    if (inside) {
      first += utf8_size_by_lead(text, first);
      last = tail;
    }
    out_.pairs.push_back({index_, inside, in_call_});
    std::string begin = utf8_of(out_.base + 2 * pair), end = utf8_of(out_.base + 2 * pair + 1);
    return text.substr(0, first) + begin + text.substr(first, last - first) + end + text.substr(last);
  }

  MarkedConversation& out_;
  MarkerPlan plan_;
  size_t index_ = 0;
  bool in_call_ = false;
};

}  // namespace

char32_t unused_plane(const std::string& text) {
  for (char32_t plane : kPlanes) {
    bool used = false;
    for (size_t at = 0; at < text.size() && !used; at += utf8_size_by_lead(text, at)) {
      char32_t c = four_byte_character(text, at);
      used = c >= plane && c < plane + kPlaneSize;
    }
    if (!used) return plane;
  }
  fail(ExitCode::data, "a conversation uses private-use characters of both planes, which mark what is trained");
}

MarkedConversation mark_assistants(const Json::Array& messages, MarkerPlan plan, const std::string& text) {
  MarkedConversation out{.messages = messages, .base = unused_plane(text)};
  Marking marking(out, plan);
  for (size_t i = 0; i < out.messages.size(); ++i) {
    const Json* role = out.messages[i].find("role");
    if (role && role->is_string() && role->as_string() == "assistant") marking.mark_message(out.messages[i], i);
  }
  return out;
}

UnmarkedText unmark(const std::string& rendered, const MarkedConversation& marked) {
  UnmarkedText out;
  out.extents.resize(marked.messages.size());
  out.calls_written.resize(marked.messages.size());
  std::vector<char> seen(marked.pairs.size() * 2, 0);
  std::vector<size_t> ends;  // messages whose end marker stands before their last character
  auto note = [&](size_t message, size_t at) {
    auto here = static_cast<int64_t>(at);
    auto& extent = out.extents[message];
    if (!extent) extent = MarkedExtent{.bytes = {here, here}};
    extent->bytes.begin = std::min(extent->bytes.begin, here);
    extent->bytes.end = std::max(extent->bytes.end, here);
  };
  for (size_t at = 0; at < rendered.size();) {
    size_t bytes = std::min(utf8_size_by_lead(rendered, at), rendered.size() - at);
    char32_t c = four_byte_character(rendered, at);
    if (c < marked.base || c >= marked.base + seen.size()) {
      out.text.append(rendered, at, bytes);
      for (size_t message : ends) note(message, out.text.size());
      ends.clear();
    } else {
      size_t index = c - marked.base;
      const MarkerPair& pair = marked.pairs[index / 2];
      seen[index] = 1;
      if (pair.of_call) out.calls_written[pair.message] = 1;
      size_t place = out.text.size();
      if (pair.inside && index % 2 == 0 && place > 0) {  // the begin marker stands after the first character
        --place;
        while (place > 0 && is_continuation(out.text[place])) --place;
      }
      note(pair.message, place);
      if (pair.inside && index % 2 == 1) ends.push_back(pair.message);
    }
    at += bytes;
  }
  for (size_t i = 0; i < marked.pairs.size(); ++i) {
    auto& extent = out.extents[marked.pairs[i].message];
    if (extent && !seen[2 * i] && seen[2 * i + 1]) extent->begin_lost = true;
    if (extent && seen[2 * i] && !seen[2 * i + 1]) extent->end_lost = true;
  }
  return out;
}

}  // namespace prentice

#include "text/chat_turn.h"

#include <algorithm>

namespace prentice {

namespace {

bool is_assistant(const Json& message) {
  const Json* role = message.find("role");
  return role && role->is_string() && role->as_string() == "assistant";
}

}  // namespace

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

size_t skip_space(const std::string& text, size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

bool has_tool_calls(const Json& message) {
  const Json* calls = message.find("tool_calls");
  return is_assistant(message) && calls && calls->is_array() && !calls->as_array().empty();
}

std::vector<size_t> assistants(const Json::Array& messages) {
  std::vector<size_t> found;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (is_assistant(messages[i])) found.push_back(i);
  }
  return found;
}

std::vector<size_t> prompt_sizes(const std::string& prompt) {
  std::vector<size_t> sizes;
  for (size_t size = prompt.size(); size > 0; --size) {
    sizes.push_back(size);
    if (!is_space(prompt[size - 1])) break;
  }
  return sizes;
}

void append(std::vector<AssistantSpan>& spans, AssistantSpan span) {
  if (!spans.empty()) span.bytes.begin = std::max(span.bytes.begin, spans.back().bytes.end);
  if (span.bytes.end > span.bytes.begin) spans.push_back(span);
}

}  // namespace prentice

// One conversation while its spans are looked for, and the small questions that both ways of looking ask of it.
#pragma once

#include <string>
#include <vector>

#include "text/chat_spans.h"

namespace prentice {

struct SpanFinder::Turn {
  const Conversation& conversation;
  const RenderOptions& options;
  const std::string& text;
  std::string prompt;  // what the template writes to make the assistant speak; may be empty
};

bool is_space(char c);
size_t skip_space(const std::string& text, size_t at);  // the first character at or behind `at` that is none

bool has_tool_calls(const Json& message);
std::vector<size_t> assistants(const Json::Array& messages);  // their indices

// How much of the generation prompt to look for: all, then less of the white space at its end, which a template may
// write otherwise in a finished turn.
std::vector<size_t> prompt_sizes(const std::string& prompt);

// A message's spans in order and apart; pieces of one message that touch become one.
void append(std::vector<AssistantSpan>& spans, AssistantSpan span);

}  // namespace prentice

// Conversations as data sets spell them to the one form that templates see: roles system, user, assistant and tool,
// content a string, tool calls as OpenAI's with arguments as objects (what Hugging Face templates expect).
#pragma once

#include <functional>
#include <map>
#include <string>

#include "io/json.h"
#include "text/chat.h"

namespace prentice {

// Appends one message: {"role", "content"} or {"from", "value"}, with "tool_calls", "weight", "loss_weight" or "train"
// as it may be; other members are kept for the template. Content is a string or a list of text parts; the content of
// a function_call is the call as JSON text or value. `fields` renames members (data.fields). The weight of what is not
// an assistant's is 0. Errors: `malformed`, beginning with "message N".
void append_message(Conversation& conversation, const Json& message, const std::map<std::string, std::string>& fields);

// A string becomes one message of `role`, an object is one message, a list is several.
void append_messages(Conversation& conversation, const Json& value, const std::string& role,
                     const std::map<std::string, std::string>& fields);

void prepend_system(Conversation& conversation, const std::string& text);  // unless it has a system message

// `tools` of a record: a list or JSON text of one; bare functions are wrapped as {"type": "function", "function": ...}.
// An empty list is null. Errors: `malformed`.
Json normalized_tools(const Json& tools);

// `record` with its members renamed: fields[ours] = theirs. A member already called `ours` gives way.
Json renamed(Json record, const std::map<std::string, std::string>& fields);

}  // namespace prentice

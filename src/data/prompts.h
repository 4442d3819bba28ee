// What a model is asked, row by row: the rows of data.train without their last answer. Separate from encoding because
// nothing is trained here, and because the answers go back into rows of the same form.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/schema.h"
#include "data/origin.h"
#include "io/json.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace prentice {

struct Prompt {
  Origin origin;
  bool chat = false;
  Conversation conversation;  // chat: the turns before the answer
  std::string text;           // raw rows: the prompt
  std::vector<int32_t> ids;   // what the model reads: a template's generation prompt included
};

struct PromptSet {
  std::vector<Prompt> prompts;  // in file order
  std::string description;      // "messages, 1,200 prompts from tickets.jsonl"
};

// Errors: those of load_rows; `data` for rows of text, which have no prompt, and for a prompt without tokens.
PromptSet load_prompts(const DataSection&, const Tokenizer&, int threads);

// The prompt with an answer as a record that data.train reads: messages, or prompt and completion.
Json answered(const Prompt&, const std::string& answer);

// Whether the answer begins with a token of its own. Not so where the tokenizer merges it with the end of a raw prompt:
// such a row could not be trained on.
bool stands_apart(const Prompt&, const std::string& answer, const Tokenizer&);

}  // namespace prentice

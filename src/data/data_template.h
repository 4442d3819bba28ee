// Which chat template a data section asks for. Separate from loading: generation asks, too, and reads no data.
#pragma once

#include <optional>

#include "config/schema.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace prentice {

// The template that applies: data.template (a file, or one embedded as configs/...), else the tokenizer's own; nullopt
// when neither. Errors: `usage`, `model`.
std::optional<ChatTemplate> open_chat_template(const DataSection&, const Tokenizer&);

// data.template_args by their looks: enable_thinking: false must not arrive as a word.
Json::Object template_arguments(const DataSection&);

// data.template, where it names one, becomes the tokenizer's own, so that products carry what was trained.
// Errors: `usage` for a file that is not there.
void apply_data_template(const DataSection&, Tokenizer&);

}  // namespace prentice

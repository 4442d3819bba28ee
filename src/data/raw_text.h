// Rows that are trained as raw text although the model has a chat template: the words for it, and how the first rows
// tell it before any is encoded. Separate from encoding, because a recipe is checked without its data.
#pragma once

#include <string_view>

#include "config/schema.h"
#include "data/formats.h"

namespace prentice {

inline constexpr std::string_view kRawTextWarning =
    "these rows are raw text although the tokenizer has a chat template: serve the model as raw completion, or set "
    "data.chat: on";

// Whether rows of `format`, of which some are conversations or none, are prompts and answers outside of any template.
bool are_raw(DataFormat format, bool chat);

// Whether the first rows of data.train will be that although there is a template. Errors: those of load_rows.
bool begin_raw(const DataSection&, RowUse);

}  // namespace prentice

// What is left out of rows on their way to text: by a chat template, found by changing a part and rendering again, or
// because raw text has no place for it. Nothing fails where a part of the data is lost, so it must be said. Separate
// from encoding, which sees one row at a time.
#pragma once

#include <string>
#include <vector>

#include "data/row.h"

namespace prentice {

// Rendered again are at most so many rows that have the part in question, the first ones.
inline constexpr size_t kRowsLookedAt = 2000;

// One sentence for each of tools, reasoning, system messages and tool results that rows have and their texts do not
// depend on: how many rows, and the first. Rows that the template refuses are not among them.
std::vector<std::string> parts_left_out(const std::vector<Row>& rows, const ChatTemplate& chat_template,
                                        const RenderOptions& options, int threads);

// One sentence for each of the members "tools" and "system" that records of raw rows have and data.prompt and
// data.completion, where they build the rows, do not name.
std::vector<std::string> members_of_raw_rows(const std::vector<Row>& rows, const DataSection& section);

// Errors: `model` for a template that writes nothing of contents that are strings, as messages here have them; those of
// models that see images often want lists of parts.
void require_string_contents(const ChatTemplate& chat_template, const RenderOptions& options);

}  // namespace prentice

// Which of the known data formats a record has: the names of its members decide.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "io/json.h"

namespace prentice {

// nullopt when none fits.
std::optional<DataFormat> known_format(const Json& record);
// Errors: `malformed` when no format fits, with the record's members and how to name them.
DataFormat detect_format(const Json& record);

std::string_view format_word(DataFormat format);

// Preference and KTO rows teach another objective. Errors: `malformed`, naming the recipe kind that reads them.
void refuse_preference(DataFormat format);

// Top-level members of `record` that rows of `format` do not read; empty for conversations, whose templates see all.
std::vector<std::string> unread_members(const Json& record, DataFormat format);

}  // namespace prentice

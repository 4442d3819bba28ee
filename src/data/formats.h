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

// What an objective reads of a row.
enum class RowUse {
  examples,  // what to say
  pairs,     // a better and a worse answer
  labels,    // answers, each good or bad; a pair is two of them
};

// Errors: `malformed` when rows of `format` are not for that use, naming the recipe kind that reads them.
void require_use(DataFormat format, RowUse use);

// Top-level members of `record` that rows of `format` do not read; empty for conversations, whose templates see all.
std::vector<std::string> unread_members(const Json& record, DataFormat format);

}  // namespace prentice

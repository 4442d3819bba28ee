// The schema as help: `explain`, starter recipes and the JSON schema for editors, all from the field list.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/bind.h"
#include "io/json.h"

namespace prentice {

// topic: "", KIND, KIND.section, KIND.section.key, or section[.key] of the first kind that has it. Errors: `usage`.
std::string explain(const std::string& topic);
// The same as data: [{"key", "type", "default", "help", "why", ...}].
Json explain_json(const std::string& topic);

// JSON Schema draft 2020-12 of the recipes of one kind, or of all ("").
Json json_schema(const std::string& kind);

}  // namespace prentice

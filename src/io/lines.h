// Files of lines that are appended to while others read them: what is behind the last newline was torn by a kill, and
// is left out. Separate so that every reader of run files treats that alike.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "core/error.h"
#include "io/json.h"

namespace prentice {

// Calls visit(line, without its newline) for all whole lines in order. Errors: as MappedFile.
void for_each_line(const std::filesystem::path& path, const std::function<void(std::string_view)>& visit);

// The same for lines that are JSON values. Errors: `code`, naming file and line, for one that is none and for what
// `visit` cannot read in it.
void read_json_lines(const std::filesystem::path& path, ExitCode code, const std::function<void(const Json&)>& visit);

}  // namespace prentice

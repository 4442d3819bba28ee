// The words of the command line: a verb, what it is about, overrides and flags.
#pragma once

#include <string>
#include <vector>

#include "config/invocation.h"

namespace prentice {

struct Arguments {
  std::string verb;                    // "" when none was given
  std::vector<std::string> words;      // neither flag nor override
  std::vector<std::string> overrides;  // section.key=value, STEP:section.key=value
  Invocation flags;                    // json, quiet, fresh, chat, rows; `command` is the whole line
  bool help = false, version = false, json_schema = false;
  std::string configs;                 // --configs DIR
  std::string out;                     // repro run --out DIR
  std::string revision;                // download --revision NAME
  std::string fit;                     // plan --fit SIZE
  std::vector<std::string> own_flags;  // the given ones that not every verb reads
};

// The flags that every verb reads, and --fresh, a line each: for the help.
std::string flags_help();

// `words` without the program's name. Errors: `usage` for an unknown flag (with "did you mean") or a missing value.
Arguments parse_arguments(const std::vector<std::string>& words);

}  // namespace prentice

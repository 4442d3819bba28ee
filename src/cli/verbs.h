// The verbs: one function each, found by name in one table that is also the help.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/arguments.h"

namespace prentice {

struct Verb {
  std::string_view name;
  std::string_view usage;  // after "prentice "
  std::string_view help;   // one line
  std::string_view more;   // the rest of the verb's own help
  int (*run)(const Arguments&);
  bool takes_overrides = false;  // section.key=value
  std::string_view flags = {};   // those that not every verb reads, apart by spaces
  bool runs_recipes = false;     // and so needs the devices
};

std::span<const Verb> verbs();

// Help, version, a verb, or a recipe kind as verb. Returns the exit status. Errors: `usage`, and what the verb throws.
int run_command(const Arguments&);

// Each returns the exit status.
int verb_explain(const Arguments&);
int verb_recipes(const Arguments&);
int verb_init(const Arguments&);
int verb_inspect(const Arguments&);
int verb_doctor(const Arguments&);
int verb_download(const Arguments&);

std::string general_help();
std::string verb_help(const Verb&);

}  // namespace prentice

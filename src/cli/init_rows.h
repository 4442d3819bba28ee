// Which members of a data file's records are the question and the answer, as far as their names and values tell.
// Separate from `init`, which writes recipes: this one guesses, and says where it cannot.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/look.h"

namespace prentice {

struct RowGuess {
  std::string question, answer;     // members that every record looked at has
  std::vector<std::string> others;  // text that stands in neither
  bool answer_is_json = false;      // a list or an object
};

// nullopt where the names say nothing, or what they name is not in every record, blank, or no text.
std::optional<RowGuess> guess_rows(const DataLook& look);

// "a, b.c; lists and objects: d; not in every row: e": what a person may choose from.
std::string row_choices(const DataLook& look);

}  // namespace prentice

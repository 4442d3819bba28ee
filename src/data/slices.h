// Cuts a JSON Lines or JSON file into the texts of its records, each with its line, so that records are parsed in
// parallel and an error names its line. Looks at brackets and strings only; the JSON reader judges each slice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace prentice {

struct Slice {
  size_t begin = 0, end = 0;  // bytes of the text
  int64_t line = 1;           // 1-based, of `begin`
  size_t line_begin = 0;      // the first byte of that line
};

// One slice a line that is not blank.
std::vector<Slice> line_slices(std::string_view text);

struct JsonLayout {
  // The elements of a top-level array, or of each array that is a member of a top-level object.
  std::vector<std::pair<std::string, std::vector<Slice>>> arrays;  // key ("" for a top-level array), elements
  std::vector<Slice> others;                                       // values of the top-level object's other members
  bool is_object = false;
  size_t end = 0;  // where the top-level value ends; what follows is not looked at
};

// nullopt when brackets, commas or strings do not fit: then the JSON reader has to say what is wrong.
std::optional<JsonLayout> json_layout(std::string_view text);

// What can be told apart of a top-level array that has no layout. A record whose brackets or strings do not fit ends
// where a later line begins as the line of the first record does; after twenty of them nothing more is looked at.
struct BrokenArray {
  std::vector<Slice> elements;     // the bad ones, too
  std::vector<Slice> unseparated;  // empty, where an element begins without a comma before it
};
BrokenArray cut_broken_array(std::string_view text);

}  // namespace prentice

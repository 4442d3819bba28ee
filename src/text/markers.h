// Private-use characters written into a conversation, so that after rendering one sees where each assistant's words
// ended up. Separate from the spans because it knows nothing of tokens or templates.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace prentice {

// What is marked and on which side of its first and last non-space character. A template may look at the first
// characters of a content, or parse the thinking tags in it, so one choice does not fit all.
struct MarkerPlan {
  bool inside = false;     // after the first and before the last character, as opposed to before and after
  bool everything = true;  // also the reasoning, the names of called functions, and contents that are empty
};
inline constexpr MarkerPlan kMarkerPlans[] = {{false, true}, {true, true}, {false, false}, {true, false}};

struct MarkerPair {
  size_t message = 0;    // index of the message it stands in
  bool inside = false;   // as in the plan, but texts of fewer than two characters have no inside
  bool of_call = false;  // a called function's name or argument
};

struct MarkedConversation {
  Json::Array messages;
  std::vector<MarkerPair> pairs;
  char32_t base = 0;  // pair k is written as base + 2k and base + 2k + 1
};

// The first code point of a private-use plane that `text` does not use. Errors: `data` when it uses both.
char32_t unused_plane(const std::string& text);

// Marks every assistant message. `text` is the plain rendering: the markers avoid what it contains. Errors: `data`, as
// unused_plane, and when the conversation has too many pieces.
MarkedConversation mark_assistants(const Json::Array& messages, MarkerPlan plan, const std::string& text);

// Where a message's words are, as bytes of the text without markers.
struct MarkedExtent {
  ByteSpan bytes;                             // from the first to the last marker that survived
  bool begin_lost = false, end_lost = false;  // a template that cuts a text may drop one marker of a pair
};

struct UnmarkedText {
  std::string text;
  std::vector<std::optional<MarkedExtent>> extents;  // by message; nullopt: no marker survived
  std::vector<char> calls_written;                   // by message: whether a marker of its tool calls survived
  bool everything = false;                           // of the plan
};

// Takes the markers out again.
UnmarkedText unmark(const std::string& rendered, const MarkedConversation& marked);

}  // namespace prentice

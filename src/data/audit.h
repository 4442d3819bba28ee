// The first training rows as the model will see them: ids, text, which tokens are trained, where sequences end.
// Separate from encoding because only people read it; the audit verb prints it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/data_set.h"
#include "data/lengths.h"
#include "text/tokenizer.h"

namespace prentice {

struct AuditToken {
  int32_t id = 0;
  std::string text;  // what this token adds to the text; "" while a character is incomplete
  bool trained = false;
  float weight = 0;  // of the token as a target; 0 = not trained
};

struct AuditSequence {
  Origin origin;
  int32_t piece = 0;
  std::string_view side;  // "chosen", "rejected", "desirable", "undesirable"; "" for an example
  std::vector<AuditToken> tokens;
  int64_t trained = 0;  // tokens
};

struct Audit {
  std::string description;               // what was found
  std::vector<AuditSequence> sequences;  // the first ones, in file order
  int64_t rows = 0;                      // after dropping
  TokenTotals totals;
  std::vector<std::pair<std::string_view, LengthStats>> sides;  // preference data: lengths by side
  double trained_share = 0;                                     // of all tokens
  int64_t dropped = 0, truncated = 0, truncated_tokens = 0;
  std::vector<std::string> warnings;
};

// Shows the first `examples`; a pair is one, with both its sides.
Audit audit_data(const DataSet& set, const Tokenizer& tokenizer, int64_t examples);

enum class AuditStyle {
  brackets,  // trained text stands [in brackets]; control characters and brackets of the text itself are escaped
  colour,    // trained text is green (ANSI)
};

// Plain text for a terminal: one block a sequence, then totals and warnings. Bytes of the data that a terminal would
// obey (control characters) are shown as escapes.
std::string render_audit(const Audit& audit, AuditStyle style, bool show_ids = true);

}  // namespace prentice

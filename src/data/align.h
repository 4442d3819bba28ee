// Which tokens of two tokenizations of one text begin at the same place: how models of different vocabularies are
// compared row by row.
#pragma once

#include <cstdint>
#include <vector>

#include "data/sequence.h"
#include "text/tokenizer.h"

namespace prentice {

struct TokenizedRow {
  const Sequence& sequence;
  const Tokenizer& tokenizer;
};

// For each labelled position of `ours`, ascending, the position of `theirs` whose label begins at the same place of the
// same answer, or -1 where it has no token that begins there. Answers are runs of labels, and the k-th of one side is
// the k-th of the other. A place is the text before it without white space, of which tokenizers make and lose some: it
// holds as far as these texts are equal. Of several tokens at one place the i-th meets the i-th.
std::vector<int64_t> align_rows(const TokenizedRow& ours, const TokenizedRow& theirs);

}  // namespace prentice

// The task `choice`: which of the candidate answers the model finds likeliest. Candidates run as a trie behind one
// prompt, so that what they share is computed once.
#pragma once

#include <string>
#include <vector>

#include "eval/score.h"

namespace prentice {

// eval.choices (a list, or one file: JSON list, or one candidate a line), else the sorted set of the training
// completions; empty when neither says any (then every record must). Errors: `usage`; `data` for a bad file.
std::vector<std::string> resolve_choices(const EvalSection&, const DataSet* train);

// Whether every example has candidates, for what is scored before them. Errors: as score_choice.
void require_candidates(const EvalInput&);

// Score of a candidate: sum of log p of its tokens and of the end token; compared as it is, per token, or per byte.
// Of equal candidates the first wins. Errors: `usage` when there are no candidates; `data` when an example has no
// prompt or a token straddles the border to a candidate.
ChoiceResult score_choice(const EvalInput&);

}  // namespace prentice

// What a receiver compares a served model with: a few prompts, and what the trained model answers to them.
#pragma once

#include <cstdint>
#include <vector>

#include "data/data_set.h"
#include "export/serving.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace prentice {

inline constexpr size_t kSelfTestCases = 3;

// The prompts of the first examples (of plain text: its first tokens), greedy continuations of at most 16 tokens, and
// the five most likely ids after each prompt; a conversation of three turns in the chat template, where the tokenizer
// has one that does not write the date.
SelfTest make_self_test(const Model&, const DataSet&, const Tokenizer&, const std::vector<int32_t>& stop_ids);

}  // namespace prentice

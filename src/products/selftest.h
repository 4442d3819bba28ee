// What a receiver compares a served model with: a few prompts, and what the trained model answers to them.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "data/data_set.h"
#include "model/model.h"
#include "proof/layer_walk.h"
#include "serving/serving.h"
#include "text/tokenizer.h"

namespace prentice {

inline constexpr size_t kSelfTestCases = 3;

// The prompts of the first examples (of plain text: its first tokens), greedy continuations of at most 16 tokens, and
// the five most likely ids after each prompt; a conversation of three turns in the chat template, where the tokenizer
// has one that does not write the date.
SelfTest make_self_test(const Model&, const DataSet&, const Tokenizer&, const std::vector<int32_t>& stop_ids);

// The same of a model that is read layer by layer and held nowhere: prompts of our own, as questions in the chat
// template where the tokenizer has one that does not write the date. Large models, which are read anew for every token,
// answer in fewer.
SelfTest make_self_test(const WeightReader&, const Tokenizer&, const std::vector<int32_t>& stop_ids, c10::Device,
                        const std::function<void()>& before_layer);

}  // namespace prentice

// Texts on which two tokenizers of one vocabulary that differ would show it, and prose to run a model on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace prentice {

// Every code point below 0x250, scripts, digits, runs of white space, punctuation, contractions, emoji; accents both as
// one code point and as two. Nothing that a tokenizer of its own could take for a special token.
std::vector<std::string> plain_texts();
// The same accents as one code point and as two: a tokenizer that gives one the ids of the other composes text first,
// which llama.cpp does not.
inline constexpr std::string_view kComposed = "caf\u00e9", kDecomposed = "cafe\u0301";
// Whether a text holds combining accents that belong to the letter before them.
bool is_decomposed(std::string_view text);
// Every added token alone, between words, and twice.
std::vector<std::string> texts_of_added(const Tokenizer& tokenizer);

// About 900 words of English, a page of dialogue and some code, lists and numbers: what a model is run on where no rows
// are given.
const std::vector<std::string>& proof_prose();

}  // namespace prentice

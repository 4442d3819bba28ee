// What a reward model needs beside a language model: the head, the token it looks past, and what its adapter stores.
#pragma once

#include <string>
#include <string_view>

#include "config/schema.h"
#include "export/hf_folder.h"
#include "model/spec.h"
#include "text/tokenizer.h"

namespace prentice {

inline constexpr std::string_view kScoresAlone = "a reward model, which gives one score and no words";
inline constexpr std::string_view kWhatReadsScores =
    "`prentice eval eval.tasks=[preference]` scores pairs with it, `prentice reward` trains it on";

// The head among what the adapter of a reward run stores whole. Errors: those of require_same_head, of
// an adapter that is gone on from.
void store_head_whole(const ModelSpec&, AdapterSection&);

// Errors: `usage` when one of the two has a score head and the other has not: a run, and the adapter it goes on from.
void require_same_head(const std::string& adapter, bool adapter_scores, bool run_scores);

// The spec with a pad_token_id that no answer ends with, so that transformers reads a padded batch at each answer's
// end: the tokenizer's own, config.json's, the unknown token, the first of a text, or any other special token. As it is
// when none of these will do.
ModelSpec with_padding(const ModelSpec&, const Tokenizer&);

// `files` with the pad token of the spec in the tokenizer's settings, where the tokenizer pads with another.
FileTexts with_pad_token_file(const ModelSpec&, const Tokenizer&, FileTexts files);

}  // namespace prentice

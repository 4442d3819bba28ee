// Encoded rows together with what people and reports call them by. Separate from loading, so that what only reads a
// data set sees neither files nor templates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/schema.h"
#include "data/formats.h"
#include "data/sequence.h"
#include "io/json.h"

namespace prentice {

struct EncodeOptions {
  // The limit on ids a row when data.max_length is automatic, and the most data.max_length may ask for; 0 = none.
  int64_t max_length = 0;
  int threads = 1;
  bool for_evaluation = false;  // no EOS after `text` rows
  RowUse use = RowUse::examples;
};

// An example before tokenization: what a person would call one row; of a pair, its chosen side. Kept for audit, eval
// prompts and reports. In a conversation the last answer that is trained counts as the completion.
struct Example {
  std::string prompt;      // what is before the completion; for_evaluation: ends with the template's generation prompt
  std::string completion;  // trained text
  std::string text;        // the whole rendered text
  std::string reference;   // the expected answer as the data spells it (no end-of-turn token): eval's `exact`, `choice`
  Json record;             // the record as read, fields renamed
};

struct DataSet {
  EncodedSet encoded;
  std::vector<Example> examples;              // by sample; training lets go of all but a few (keep_examples)
  DataFormat format = DataFormat::automatic;  // as detected
  bool chat = false;                          // rows went through the chat template
  std::string description;                    // "messages, 1,200 rows from tickets.jsonl": what was found
};

// Lets go of the rows as text behind those that the first `sequences` encoded ones came from: training reads ids only.
void keep_examples(DataSet& set, size_t sequences);

}  // namespace prentice

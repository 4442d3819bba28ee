// From files to encoded examples: reads the sources a data section names, detects the format, applies templates,
// tokenizes in parallel, marks what is trained and handles rows that are too long.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "data/sequence.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace prentice {

struct EncodeOptions {
  // The limit on ids a row when data.max_length is automatic, and the most data.max_length may ask for; 0 = none.
  int64_t max_length = 0;
  int threads = 1;
  bool for_evaluation = false;  // no EOS after `text` rows
};

// An example before tokenization: what a person would call one row. Kept for audit, eval prompts and reports. In a
// conversation the last answer that is trained counts as the completion.
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

struct TrainEvalSets {
  DataSet train;
  std::optional<DataSet> eval;
  std::vector<std::string> overlap;  // "train.jsonl:12 = test.jsonl:3", exact duplicates of whole rows
};

// Reads data.train and data.eval (or splits by eval_split). Errors: `data`, each with file, line and reason; `usage`
// when a path does not exist. `options.for_evaluation` applies to the train side; the eval side always has it.
TrainEvalSets load_data(const DataSection&, const Tokenizer&, const EncodeOptions&, uint64_t seed);
// One side only, for the kinds that only evaluate.
DataSet load_data_set(const std::vector<WeightedFile>& files, const DataSection&, const Tokenizer&,
                      const EncodeOptions&);

// The template that applies: data.template (a file, or one embedded as configs/...), else the tokenizer's own; nullopt
// when neither. Errors: `usage`, `model`.
std::optional<ChatTemplate> open_chat_template(const DataSection&, const Tokenizer&);

// data.template, where it names one, becomes the tokenizer's own, so that products carry what was trained.
// Errors: `usage` for a file that is not there.
void apply_data_template(const DataSection&, Tokenizer&);

}  // namespace prentice

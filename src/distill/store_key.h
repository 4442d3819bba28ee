// What binds a teacher store to its teacher, tokenizer, template and data, and what a reader of it insists on. Apart
// from the program that writes stores, because those that read them ask the same.
#pragma once

#include <string>
#include <vector>

#include "artifact/open.h"
#include "config/schema.h"
#include "data/data_set.h"
#include "run/input_hashes.h"

namespace prentice {

// Of what a tokenizer does, not of its files: every token by id, and the ids of a probe text. The same for each copy of
// it, whatever model it lies beside.
std::string tokenizer_sha256(const Tokenizer&);
// Of the source of the chat template that the rows went through and of data.template_args; "none" for raw rows.
std::string template_sha256(const DataSection&, const Tokenizer&, const DataSet&);
// Of all ids and labels, in order.
std::string data_sha256(const EncodedSet&);
// Of the model's files and whether its weights are held in four bits; where they are made, also of the seed. Waits for
// the hashes.
std::string teacher_sha256(const Opened&, const std::vector<InputHash>&, int64_t seed);

}  // namespace prentice

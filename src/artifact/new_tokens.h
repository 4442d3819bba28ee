// model.add_tokens of a training recipe: the tokenizer and the shapes with the new tokens, decided before weights load;
// and the files that carry them to whoever uses the product.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "artifact/artifact.h"
#include "artifact/open.h"
#include "config/schema.h"
#include "export/hf_folder.h"
#include "text/tokenizer.h"

namespace prentice {

struct NewTokens {
  std::vector<int32_t> ids;    // whose rows have no values of their own yet
  int64_t known = 0;           // ids below this have
  bool own_tokenizer = false;  // what is trained needs another tokenizer than its base has
  std::vector<std::pair<std::string, std::string>> decided;  // lines of the plan
};

// Makes of an opened model the one that a run trains: the tokenizer (the artifact's, or that of the adapter it goes on
// from) with the recipe's tokens, more rows where they need them, and embedding and head among what the adapter stores
// whole. Errors: those of open_tokenizer; `usage` for new tokens beside an adapter that is gone on from, whose rows are
// fixed.
NewTokens take_new_tokens(const ModelSection&, Opened&, AdapterSection&);

// Companion files that differ from those in the tokenizer's folder, or that it lacks: what added tokens and a replaced
// chat template change, the pad token of a score head, and the base's own generation settings and licence where the
// tokenizer came with an adapter.
FileTexts own_files(const Artifact&, const ModelSpec&, const Tokenizer&);

// The chat template that products carry in place of what stands in the tokenizer's folder; nullopt: that one.
std::optional<std::string> replaced_template(const Tokenizer&);

}  // namespace prentice

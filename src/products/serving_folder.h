// serve/ of a run: what a receiver needs to serve the products, and to check whoever serves them.
#pragma once

#include <filesystem>

#include "products/product_source.h"
#include "proof/verify.h"
#include "serving/serving.h"

namespace prentice {

// Whether AutoTokenizer of transformers 5 takes another rule than the files': it reads a tokenizer.json as it stands
// for some classes, and builds others anew. It shows where SentencePiece's space stands in front of every text
// behind an added token.
bool is_built_anew(const Tokenizer&);

// Of everything that serve.md says how to serve: how far a server's log-probabilities may be from the self-test's.
std::vector<Tolerance> tolerances_of(const ProductSource&, const ExportSection&, const ServingInfo&,
                                     const Verification& found);

// Replaces the folder. Errors: `storage`.
void write_serving(const ProductSource&, const ServingInfo&, const SelfTest&, const std::vector<Tolerance>&,
                   const std::filesystem::path& out);

}  // namespace prentice

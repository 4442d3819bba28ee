// The two sides of `recipe: compare` before a weight loads: what they are, the rows that each reads, and what of them
// can be compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "artifact/open.h"
#include "config/kinds.h"
#include "data/data_set.h"
#include "eval/compared.h"

namespace prentice {

struct ComparedSide {
  std::string key;  // compare.a
  Opened opened;
  DataSet data;

  std::string name() const { return key.substr(key.size() - 1); }
};

// a and b; decides data.max_length where the recipe leaves it open. Errors: `usage` for what cannot be scored side by
// side, those of open_model and load_data_set.
std::vector<ComparedSide> open_compared_sides(CompareRecipe&);

// What is left out of the rows, told before they are scored.
std::vector<std::string> row_warnings(const std::vector<ComparedSide>&);

// Of what is loaded: the model's files and the adapter's, not what a checkpoint keeps beside them.
uint64_t weight_bytes(const Artifact&);

// Why the distributions of two language models cannot be compared id by id; "" where they can.
std::string why_no_divergence(const std::vector<ComparedSide>&, const PairedRows&);

}  // namespace prentice

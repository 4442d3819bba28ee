// The model that a run trains, before its weights load. Separate from prepare.h because audit and validate want it
// without data and plan.
#pragma once

#include "adapter/qat.h"
#include "artifact/new_tokens.h"
#include "artifact/open.h"
#include "config/kinds.h"

namespace prentice {

struct Student {
  Opened opened;
  AdapterSection adapter;  // kind full for pretraining
  NewTokens new_tokens;
  ServedTypes served;  // what the file of adapter.qat holds of each matrix; empty: the weights train as they are
};

// What the file of adapter.qat, with the recipe's export.types, holds of each matrix of such a model. Errors: `usage`
// for a bad entry of export.types; `model` for a tensor that GGUF has no name for.
ServedTypes served_by(const AdapterSection&, const ExportSection&, const ModelSpec&);

// What `opened`, the recipe's model, becomes where it trains: with its head, the recipe's tokens and the adapter that
// stores them. Errors: those of with_score_head, store_head_whole and
// take_new_tokens.
template <class Recipe>  // a kind that trains
Student make_student(const Recipe& recipe, Opened opened);

}  // namespace prentice

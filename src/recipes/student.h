// The model that a run trains, before its weights load. Separate from prepare.h because audit and validate want it
// without data and plan.
#pragma once

#include "config/kinds.h"
#include "recipes/new_tokens.h"
#include "recipes/open.h"

namespace prentice {

struct Student {
  Opened opened;
  AdapterSection adapter;  // kind full for pretraining
  NewTokens new_tokens;
};

// What `opened`, the recipe's model, becomes where it trains: with its head, the recipe's tokens and the adapter that
// stores them. Errors: those of take_score_head and take_new_tokens.
template <class Recipe>  // a kind that trains
Student make_student(const Recipe& recipe, Opened opened);

}  // namespace prentice

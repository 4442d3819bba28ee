// From a training recipe to everything that is known before weights load: the model's shape, the tokenizer, the encoded
// data, the steps, the plan; every `auto` of the recipe is decided here and frozen.
#pragma once

#include <memory>
#include <optional>

#include "config/kinds.h"
#include "data/encode.h"
#include "data/steps.h"
#include "model/model.h"
#include "recipes/artifact.h"
#include "recipes/machine.h"
#include "recipes/plan.h"
#include "text/tokenizer.h"

namespace prentice {

struct PreparedRun {
  Machine machine;
  Artifact artifact;
  ModelSpec spec;
  AdapterSection adapter;  // kind full for pretraining
  Tokenizer tokenizer;
  TrainEvalSets data;
  std::unique_ptr<StepSource> steps;
  double epochs = 0;  // of the whole run
  Plan plan;
};

// For this machine, or to be planned only, for one under configs/hardware. Errors: whatever can be wrong with a recipe,
// its model folder and its data.
template <class Recipe>  // PretrainRecipe or SftRecipe
PreparedRun prepare_run(Recipe& recipe, const std::string& hardware = "");

AdapterSection adapter_of(const PretrainRecipe&);
AdapterSection adapter_of(const SftRecipe&);

// The tokenizer of an artifact, checked against the model's vocabulary. Errors: `usage` when there is none, `model`
// when it makes ids the model has no row for.
Tokenizer open_tokenizer(const Artifact&, const ModelSpec&);
ModelSpec open_spec(const Artifact&);

// The weights in memory, with the artifact's adapter attached. `random` makes them from the shapes and the seed.
Model open_model(const Artifact&, const ModelSpec&, const Machine&, bool random, uint64_t seed);

}  // namespace prentice

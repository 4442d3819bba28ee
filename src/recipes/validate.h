// Every mistake of a recipe that can be told without weights and data: its words, and what the shape of its model does
// not allow, of a pipeline in every step.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/read.h"

namespace prentice {

// Returns the warnings. A model or an adapter that is not there yet, because an earlier step makes it, has the shape of
// what that step begins with; where that is not known, nothing is held against it. Errors: all mistakes at once, in
// file order: `usage`; `model` where nothing is wrong but model files and what they can be written as.
std::vector<std::string> validate_recipe(const Node& recipe);

// A step of a pipeline, with the model and adapter sections of the step that makes them where an earlier one does: it
// is named by its run folder, a checkpoint of it, or its merged/ or adapter/.
struct PromisedStep {
  struct Adapter {
    Node init;            // as it is written
    bool scores = false;  // its step trains a reward model
  };
  ExpandedStep step;
  bool promised = false;                     // the model is another step's
  bool scores = false;                       // which makes a reward model of it
  bool second_scores = false;                // the same of the teacher or the reference
  std::optional<Adapter> adapter = {};       // another step's, which this one goes on from
  std::optional<ModelSection> teacher = {};  // of a distillation: what the step that makes it begins with
  bool reference_promised = false;           // another step's, of the shape that this begins with
  bool shape_known = true;                   // not so for any other part of what an earlier step makes
  bool data_known = true;                    // not so for rows that an earlier step writes and has not yet written
};
struct ModelShape;
// The model of a step, as far as it is known. Errors: those of open_shape.
ModelShape promised_shape(const ModelSection&, const PromisedStep&);

// Whether the earlier steps have run already makes no difference: what they left may be half done.
std::vector<PromisedStep> with_promised_models(std::vector<ExpandedStep> steps);

// The teacher of a recipe that was read from the step: what another step makes has the shape that this begins with.
void take_teacher(DistillRecipe& recipe, const PromisedStep& step);

}  // namespace prentice

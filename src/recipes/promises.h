// What the steps of a pipeline find of each other before any has run: the model, the adapter, the teacher, the
// reference and the sides of a comparison that an earlier step will make have the shape of what that step begins with.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "artifact/open.h"
#include "config/kinds.h"
#include "config/read.h"

namespace prentice {

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
  std::array<bool, 2> side_scores = {};      // the same of compare.a and compare.b
  std::optional<Adapter> adapter = {};       // another step's, which this one goes on from
  std::optional<ModelSection> teacher = {};  // of a distillation: what the step that makes it begins with
  bool reference_promised = false;           // another step's, of the shape that this begins with
  bool shape_known = true;                   // not so for any other part of what an earlier step makes
  bool data_known = true;                    // not so for rows that an earlier step writes and has not yet written
};

// Whether the earlier steps have run already makes no difference: what they left may be half done.
std::vector<PromisedStep> with_promised_models(std::vector<ExpandedStep> steps);

// The model of a step, as far as it is known. Errors: those of open_shape.
ModelShape promised_shape(const ModelSection&, const PromisedStep&);

// The teacher of a recipe that was read from the step: what another step makes has the shape that this begins with.
void take_teacher(DistillRecipe& recipe, const PromisedStep& step);

}  // namespace prentice

// The scores of a model with a score head in place of the vocabulary's. Separate from model.h because language models,
// which is nearly all of them, have none.
#pragma once

#include "model/model.h"

namespace prentice {

// [S] f64: the score of each sequence, with gradients where the model has them: the head's first label at the last
// token that is not spec.pad_id, which is where transformers' GenericForSequenceClassification reads a padded batch.
// The head is multiplied in f32 (f64 in an f64 model).
Tensor sequence_scores(const Model&, const Batch&, const ForwardOptions&);

}  // namespace prentice

// What a preference run compares its model with: the log-probabilities of answers under the model as it was before the
// first step, or under another one. Separate from the run because evaluation asks it too.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "artifact/open.h"
#include "artifact/vocabulary.h"
#include "config/kinds.h"
#include "data/encode.h"
#include "model/model.h"
#include "plan/step_shape.h"
#include "run/input_hashes.h"

namespace prentice {

// [S] f64: the sum of log-probabilities of each sequence's labels, with gradients where the model has them.
Tensor answer_sums(const Model&, const Batch&, const ForwardOptions&);

// The shape of a reference of its own address. Errors: those of open_shape; `usage` for a reward model.
ModelShape reference_shape(const PreferenceSection&);
// What a step holds beside the model that trains, and asks: another model, a copy of the adapter that is gone on from,
// or the model itself. None where the loss has no reference. `trainable`: elements.
std::optional<AskedModel> asked_reference(const DpoRecipe&, const Opened& policy, int64_t trainable);

// Where the log-probabilities that the recipe compares with come from, for people; it stands in the plan.
std::string reference_words(const DpoRecipe&);

// Errors: `model` when a reference of its own address reads other tokens than `policy`.
void require_same_tokens(const NamedTokenizer& reference, const Opened& policy);

class Reference {
 public:
  // `policy`, loaded from `opened`, is the model as it is before its first step, also when the run will go on from a
  // checkpoint; it must outlive this. Errors: `model` when the reference has another vocabulary; those of
  // reference_shape, open_model and load_weights.
  Reference(Model& policy, const DpoRecipe& recipe, const Opened& opened);

  // [S] f64, on the batch's device, no gradient; undefined when the loss has no reference.
  Tensor sums(const Batch&) const;

  // With preference.reference: precomputed, fills Sequence::reference of all data from `folder`/reference.safetensors,
  // which it computes first if it is not there. The file is bound to `inputs` and to the sequences, tokenizer and
  // template therefore included. Errors: `model` for a file of other inputs or a damaged one; Stopped.
  void precompute(TrainEvalSets& data, const std::filesystem::path& folder, InputHashes& inputs, int64_t micro_tokens,
                  bool quiet) const;

 private:
  enum class Way { none, adapter_off, own, precomputed };

  Tensor compute(const std::vector<Sequence*>&, int64_t micro_tokens) const;

  Model& policy_;
  Way way_ = Way::none;
  std::optional<Model> own_;
};

}  // namespace prentice

// What merging changes: the answers of a merged model against those of the model in memory that it was made from, whose
// adapter stands on a base in four bits, say. One weight is whole at a time.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/batch.h"
#include "export/weight_source.h"
#include "proof/check.h"
#include "proof/weight_reader.h"

namespace prentice {

struct MergeDifference {
  int64_t tokens = 0;
  double mean_kl = 0;  // nats: of the model in memory from the merged one
  double largest = 0;  // difference of two log-probabilities
  double top1 = 0;     // share of tokens where both find the same id likeliest
};

// How merged weights are stored: in an element type, or the layers in four bits.
struct MergedForm {
  c10::ScalarType type;
  bool nf4 = false;
};

// At every position of `batch`, which lies where the model does. `merged` is made from `model`, or from its files.
MergeDifference merge_difference(const Model& model, const WeightSource& merged, const MergedForm&, const Batch& batch);

// The same of files, which are gone through a layer at a time. `before_layer` may throw.
MergeDifference merge_difference(const WeightReader& trained, const WeightReader& merged, const std::vector<Batch>&,
                                 const std::function<void()>& before_layer);

// The check of a verification: too far apart is another model. `base`: the weights that the adapter was merged with.
inline constexpr double kMostMergeKl = 0.5;
inline constexpr const char* kBaseOwnWeights = "the base's own weights, and not the four bits that were trained on";
Check merge_check(const MergeDifference&, const std::string& base);

}  // namespace prentice

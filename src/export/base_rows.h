// A trained model's weights as they are without its adapter, whether that adds to them or stands in their place
// (modules_to_save): what a file holds that knows nothing of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "export/weight_source.h"

namespace prentice {

class BaseRows {
 public:
  // `base`: the weights that the adapter was trained on; nullptr: what it stands in the place of is not known.
  BaseRows(const WeightSource& trained, const WeightSource* base) : trained_(trained), base_(base) {}

  // Rows [first, first + count) of tensor `index` of the trained model, of which `values` are these; empty where they
  // are the same. Rows that the base has not, of tokens that were added, come as they are trained. Until the next call.
  std::span<const float> rows(size_t index, int64_t first, int64_t count, std::span<const float> values);

 private:
  const WeightSource& trained_;
  const WeightSource* base_;
  std::vector<float> room_;
};

}  // namespace prentice

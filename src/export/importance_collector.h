// Collects an importance matrix: runs a model and adds up the squares of what enters each linear layer of its blocks
// (llama.cpp, tools/imatrix). Separate from io/importance_matrix.h because only it knows models.
#pragma once

#include <map>
#include <string>

#include "core/batch.h"
#include "io/importance_matrix.h"
#include "model/model.h"

namespace prentice {

class ImportanceCollector {
 public:
  // The model must outlive the collector. Errors: `model` for one whose layers have no GGUF names.
  explicit ImportanceCollector(const Model& model);

  // One forward pass without gradients, without the head. Sums are kept in f64 on the model's device.
  void add(const Batch& batch);

  // entry[c] = sum over the tokens so far of x_c^2, under the weights' GGUF names. Errors: `numerical` for a sum that
  // is not finite.
  std::map<std::string, ImportanceEntry> entries() const;

 private:
  const Model& model_;
  std::map<std::string, Tensor> sums_;               // by the name of the layer that stands first of those that read it
  std::map<std::string, std::string> first_reader_;  // GGUF name of a weight -> that name
  int64_t tokens_ = 0;
};

// Refuses a matrix that was collected on another model: a weight of a block without an entry or with one of another
// width, or an entry of a block that the model does not have. Errors: `model`, naming the weight.
void require_importance_of(const ImportanceMatrix&, const ModelSpec&);

// What the columns of `weight` are weighted by; empty where nothing is known of it, or of that many columns (which is
// refused before, but for the embedding).
std::vector<float> column_importance(const ImportanceMatrix*, const std::string& weight, int64_t columns);

}  // namespace prentice

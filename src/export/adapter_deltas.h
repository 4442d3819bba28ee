// The weight changes that a PEFT folder stands for, by tensor, without a model around them.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/tensor.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace prentice {

// W becomes W + scale * B A; with a magnitude, each row of that gets this length (DoRA). All on the CPU in f32;
// undefined when there is no change.
struct AdapterDelta {
  Tensor a;          // [R, columns]
  Tensor b;          // [rows, R]
  Tensor magnitude;  // [rows] or undefined
  double scale = 1;
};

struct AdapterChanges {
  std::map<std::string, AdapterDelta> deltas;         // by the name of the tensor that changes
  std::map<std::string, const TensorView*> replaced;  // what stands in a tensor's place
  bool unties = false;                                // embedding and head of a tied model become two weights
  std::shared_ptr<const void> file;                   // that `replaced` points into
};

// Errors: those of PeftFolder (adapter/peft_folder.h). `of_base` gives the base's embedding and head by tensor name.
AdapterChanges read_adapter_changes(const std::filesystem::path& folder, const ModelSpec& spec,
                                    const std::function<Tensor(const std::string&)>& of_base);
// The same of an adapter in memory; modules saved whole are the model's own tensors already.
AdapterChanges adapter_changes(const Model&);

// Applies it to rows [first, first + rows.size(0)) of the tensor, in place. rows [n, columns] f32
void apply_delta(const AdapterDelta&, int64_t first, Tensor& rows);

}  // namespace prentice

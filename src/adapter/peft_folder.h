// The one reader of PEFT folders: adapter_config.json and adapter_model.safetensors held against the modules of a
// model. Training attaches what it finds, an export merges it row by row; neither knows the format.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "adapter/peft.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace prentice {

// The low-rank factors of one module. Views are into the folder's mapped file.
struct PeftFactors {
  std::string module;                     // model.layers.0.self_attn.q_proj
  bool embedding = false;                 // then a is [R, V] and b [D, R]
  const TensorView* a = nullptr;          // [R, in]
  const TensorView* b = nullptr;          // [out, R]
  const TensorView* magnitude = nullptr;  // [out] with DoRA
  int64_t rank = 0;
  double alpha = 0, scale = 0;
};

// A tensor that the adapter holds whole (modules_to_save): what takes the place of the model's own of that name.
struct PeftWhole {
  std::string tensor;  // lm_head.weight
  const TensorView* view = nullptr;
};

class PeftFolder {
 public:
  // `model` gives names and shapes only and may be on `meta`. Errors: `usage` when folder or file are missing; `model`,
  // all tensors at fault named: every targeted module must have its factors, every saved one its tensors, and nothing
  // else may be there but PEFT's copies of the base's embedding and head.
  static PeftFolder open(const std::filesystem::path& folder, const Model& model);

  const PeftConfig& config() const { return config_; }
  const std::vector<PeftFactors>& factors() const { return factors_; }  // the embedding's first, then in module order
  const std::vector<PeftWhole>& whole() const { return whole_; }        // in the model's order
  // The adapter gives a tied model's embedding and head different weights.
  bool unties() const { return unties_; }

  // PEFT stores the base's embedding and head beside an adapter that touches them: they must be the base's.
  // `of_base` gives the base's tensor of that name. Errors: `model`.
  void check_copies(const std::function<Tensor(const std::string& tensor)>& of_base) const;
  // f32 (f64 where stored so) on the CPU, in memory of its own. Errors: `model` for a value that is not finite.
  static Tensor values(const TensorView&);
  // Keeps the mapped file alive.
  std::shared_ptr<const void> keep() const { return file_; }

 private:
  friend class PeftReader;
  std::filesystem::path folder_;
  PeftConfig config_;
  std::shared_ptr<const SafetensorsFile> file_;
  std::vector<PeftFactors> factors_;
  std::vector<PeftWhole> whole_, copies_;
  bool unties_ = false;
};

}  // namespace prentice

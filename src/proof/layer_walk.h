// A decoder run on all tokens of some batches, a layer at a time: what is in memory is one layer, beside the states of
// all tokens, and some rows of a large embedding or head.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/batch.h"
#include "model/model.h"
#include "proof/weight_reader.h"

namespace prentice {

// An embedding or a head with more values is read so many at a time, whenever it is needed.
inline constexpr int64_t kHeldValues = int64_t{1} << 24;

// In f32 and without gradients, on the device of the batches, one of which is worked on at a time.
class LayerWalk {
 public:
  // Both must outlive it. Looks the embedding up. Errors: those of reading.
  LayerWalk(const WeightReader&, const std::vector<Batch>&);

  // Layers are to be walked in order. Errors, here and below: those of reading.
  void step(size_t layer);
  // The last norm, behind all layers.
  void finish();

  // Behind finish(): [T, H], the batches one after the other.
  const Tensor& states() const { return states_; }
  // Of ids [first, first + count), of such states [n, H]: [n, count] f64.
  Tensor logits(const Tensor& states, int64_t first, int64_t count) const;

 private:
  struct Matrix {
    std::string name;
    int64_t rows = 0, columns = 0;
    Tensor held;  // where it is small
  };

  c10::Device device() const { return batches_.front().tokens.device(); }
  Tensor whole(const std::string& name, const Tensor& shape) const;
  Matrix open(const std::string& name, const Tensor& shape) const;
  static int64_t rows_at_once(const Matrix&);
  Tensor read(const Matrix&, int64_t first, int64_t count) const;

  const WeightReader& weights_;
  const std::vector<Batch>& batches_;
  Model model_;                      // on `meta`, but for the last norm behind finish()
  std::vector<Tensor> open_states_;  // of each batch, until finish()
  Tensor states_;
  Matrix head_;
  Tensor bias_;  // on the CPU
};

// The logits behind each sequence of a batch: [S, V] f64 on the CPU. `before_layer` may throw.
Tensor last_logits(const WeightReader&, const Batch&, const std::function<void()>& before_layer);

}  // namespace prentice

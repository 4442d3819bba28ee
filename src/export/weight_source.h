// Where an export's weights come from: a folder with or without a PEFT adapter, or a model in memory. Rows are made one
// block at a time as f32, the adapter already folded in, so that memory does not grow with the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "export/adapter_deltas.h"
#include "model/model.h"

namespace prentice {

// A tensor as rows: a vector has rows of one element.
struct RowShape {
  int64_t rows = 1, columns = 1;
};
RowShape row_shape(const std::vector<int64_t>& shape);

class WeightSource {
 public:
  // Weights of `base`, mapped; `adapter` (empty = none) is a PEFT folder and adds scale * B A in f32. Errors: `usage`
  // for a missing folder; `model` when tensors do not fit the spec or the adapter does not fit the tensors.
  static WeightSource from_folder(const ModelSpec& spec, const std::filesystem::path& base,
                                  const std::filesystem::path& adapter = {});
  // The model must outlive the source and not change meanwhile. Attached adapters are folded in. Of both: a tied model
  // whose embedding or head the adapter changes alone comes out untied.
  static WeightSource from_model(const Model& model);

  // What the tensors are a model of: the decoder alone, the adapter folded in.
  const ModelSpec& spec() const { return spec_; }
  // The exact set of stored tensors of spec(), in the order transformers writes them.
  const std::vector<TensorShape>& tensors() const { return tensors_; }

  // Rows [first, first + count) of tensor `index` as f32; by several threads at a time, too, as quant/encode.h's
  // encode_rows asks for them. Errors: `numerical` for a value that is not finite.
  void read_rows(size_t index, int64_t first, int64_t count, std::span<float> out) const;
  // The same as they are without the adapter.
  void read_base_rows(size_t index, int64_t first, int64_t count, std::span<float> out) const;
  bool is_changed(size_t index) const { return entries_.at(index).delta.a.defined(); }  // by the adapter
  // The most directions of its input that the adapter reads there; 0 where it changes nothing.
  int64_t rank_of_change(size_t index) const { return is_changed(index) ? entries_.at(index).delta.a.size(0) : 0; }
  // Called before every read, by the thread that reads; what it throws ends the work that reads.
  void before_each_read(std::function<void()> check) { before_read_ = std::move(check); }
  // Lets go of what the operating system holds of the tensors read so far, which may be read again, even meanwhile.
  void release() const { release_(); }

 private:
  using ReadRows = std::function<void(int64_t first, int64_t count, std::span<float> out)>;
  struct Entry {
    ReadRows read;
    AdapterDelta delta;  // undefined tensors when there is none
  };

  void take_spec(const ModelSpec& merged);

  ModelSpec spec_;
  std::vector<TensorShape> tensors_;
  std::vector<Entry> entries_;
  std::function<void()> before_read_ = [] {}, release_ = [] {};
};

// Calls use(first row, rows, values) for blocks of rows that together are the whole tensor, in order. Blocks begin at
// multiples of `multiple` rows.
void for_each_block(const WeightSource& source, size_t index, int64_t multiple,
                    const std::function<void(int64_t first, int64_t rows, std::span<const float> values)>& use);

}  // namespace prentice

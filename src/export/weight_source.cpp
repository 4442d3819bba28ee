#include "export/weight_source.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "adapter/merge.h"
#include "adapter/saved_modules.h"
#include "core/error.h"
#include "export/adapter_deltas.h"
#include "io/safetensors.h"
#include "model/resize.h"
#include "model/stored_nf4.h"
#include "model/stored_values.h"
#include "quant/encode.h"
#include "quant/encode_blocks.h"
#include "quant/nf4.h"

namespace prentice {

namespace {

GgmlType exported_type(const TensorView& view) {
  switch (view.dtype) {
    case DType::f32:
      return GgmlType::F32;
    case DType::f16:
      return GgmlType::F16;
    case DType::bf16:
      return GgmlType::BF16;
    default:
      fail(ExitCode::model,
           "tensor " + view.name + ": type " + std::string(dtype_name(view.dtype)) + " cannot be exported",
           "F32, F16 and BF16 weights can");
  }
}

void read_stored(const TensorView& view, GgmlType type, int64_t first, int64_t count, std::span<float> out) {
  const int64_t row_bytes = row_shape(view.shape).columns * dtype_bits(view.dtype) / 8;
  const auto bytes = view.bytes.subspan(first * row_bytes, count * row_bytes);
  const auto alignment = static_cast<uintptr_t>(ggml_type_info(type).block_bytes);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignment == 0) return decode(bytes, type, out);
  const std::vector<std::byte> aligned(bytes.begin(), bytes.end());
  decode(aligned, type, out);
}

void read_tensor(const Tensor& tensor, int64_t first, int64_t count, std::span<float> out) {
  const c10::NoGradGuard no_grad;
  const Tensor rows = tensor.dim() > 0 ? tensor.narrow(0, first, count) : tensor;
  at::from_blob(out.data(), rows.sizes(), at::TensorOptions(at::kFloat)).copy_(rows);
}

// Rows of a weight that is stored in four bits.
std::function<void(int64_t, int64_t, std::span<float>)> read_nf4(const std::shared_ptr<const WeightFolder>& weights,
                                                                 const TensorView& codes,
                                                                 const std::vector<int64_t>& shape) {
  return [weights, held = stored_nf4(*weights, codes, shape, at::kFloat)](
             int64_t first, int64_t, std::span<float> out) { decode_nf4(held, first * held.columns, out); };
}

Nf4 on_host(Nf4 held) {
  held.codes = held.codes.cpu(), held.absmax = held.absmax.cpu();
  if (held.nested()) held.nested_absmax = held.nested_absmax.cpu();
  return held;
}

// An adapter may give the vocabulary more rows than the files have, or put a score in its place.
ModelSpec shape_of_files(const ModelSpec& spec, const std::filesystem::path& base) {
  ModelSpec stored = read_spec(base);
  return stored.labels == spec.labels ? with_vocabulary(spec, stored.vocab) : stored;
}

}  // namespace

RowShape row_shape(const std::vector<int64_t>& shape) {
  if (shape.empty()) return {};
  RowShape result{.rows = shape[0], .columns = 1};
  for (size_t i = 1; i < shape.size(); ++i) result.columns *= shape[i];
  return result;
}

WeightSource WeightSource::from_folder(const ModelSpec& spec, const std::filesystem::path& base,
                                       const std::filesystem::path& adapter) {
  WeightSource source;
  // Shared, because the entries' functions are copied and the mapping must outlive them all.
  const auto weights = std::make_shared<const WeightFolder>(WeightFolder::open(base));
  const ModelSpec stored = adapter.empty() ? spec : shape_of_files(spec, base);
  const auto matched = with_context(ExitCode::model, base.string(), [&] { return match_weights(stored, *weights); });
  std::map<std::string, const TensorView*> views;
  for (const auto& tensor : expected_tensors(stored)) views[tensor.name] = matched[views.size()];
  const auto view_of = [&](const std::string& tensor) -> const TensorView* {
    if (const auto found = views.find(tensor); found != views.end()) return found->second;
    const bool is_tied_head = spec.labels == 0 && tensor == spec.names.head + ".weight";
    return is_tied_head ? views.at(spec.names.embed + ".weight") : nullptr;
  };
  AdapterChanges changes;
  if (!adapter.empty()) {
    changes = read_adapter_changes(adapter, spec, [&](const std::string& tensor) {
      const TensorView* view = view_of(tensor);
      return view ? stored_values(*view) : Tensor();
    });
  }
  ModelSpec merged = spec;
  if (changes.unties) untie(merged);
  source.take_spec(merged);
  for (const auto& tensor : expected_tensors(merged)) {
    const auto replaced = changes.replaced.find(tensor.name);
    const bool of_base = replaced == changes.replaced.end();
    const TensorView* view = of_base ? view_of(tensor.name) : replaced->second;
    if (view == nullptr) {
      fail(ExitCode::model, fmt::format("{}: neither base nor adapter has tensor {}", base.string(), tensor.name));
    }
    Entry entry;
    if (of_base && stored_quantize(stored) != Quantize::none && holds_codes(*weights, *view)) {
      entry.read = read_nf4(weights, *view, tensor.shape);
    } else if (view->shape != tensor.shape) {
      fail(ExitCode::model, fmt::format("{}: tensor {} has {} rows, and the adapter, of a vocabulary of {}, lacks it",
                                        base.string(), tensor.name, view->shape[0], spec.vocab));
    } else {
      const GgmlType type = with_context(ExitCode::model, base.string(), [&] { return exported_type(*view); });
      entry.read = [weights, file = changes.file, view, type](int64_t first, int64_t count, std::span<float> out) {
        read_stored(*view, type, first, count, out);
      };
    }
    if (const auto found = changes.deltas.find(tensor.name); found != changes.deltas.end()) entry.delta = found->second;
    source.entries_.push_back(std::move(entry));
  }
  source.release_ = [weights] { weights->release_pages(); };
  return source;
}

WeightSource WeightSource::from_model(const Model& model) {
  const c10::NoGradGuard no_grad;
  WeightSource source;
  const AdapterChanges changes = adapter_changes(model);
  std::map<std::string, Tensor> tensors;
  visit_with_head(model, [&](const std::string& name, const Tensor& tensor) { tensors[name] = tensor; });
  std::map<std::string, Nf4> quantized;
  visit_linears(model, [&](const Linear& linear) {
    if (const auto* held = std::get_if<Nf4>(&linear.weight)) quantized[linear.name + ".weight"] = on_host(*held);
  });
  ModelSpec merged = model.spec;
  if (changes.unties) untie(merged);
  source.take_spec(merged);
  for (const auto& [name, shape] : expected_tensors(merged)) {
    Entry entry;
    if (const auto held = quantized.find(name); held != quantized.end()) {
      entry.read = [held = held->second](int64_t first, int64_t, std::span<float> out) {
        decode_nf4(held, first * held.columns, out);
      };
    } else {
      entry.read = [tensor = tensors.at(name)](int64_t first, int64_t count, std::span<float> out) {
        read_tensor(tensor, first, count, out);
      };
    }
    if (const auto found = changes.deltas.find(name); found != changes.deltas.end()) entry.delta = found->second;
    source.entries_.push_back(std::move(entry));
  }
  return source;
}

void WeightSource::take_spec(const ModelSpec& merged) {
  spec_ = decoder_alone(merged);
  tensors_ = expected_tensors(spec_);
}

void WeightSource::read_base_rows(size_t index, int64_t first, int64_t count, std::span<float> out) const {
  before_read_();
  entries_.at(index).read(first, count, out);
}

void WeightSource::read_rows(size_t index, int64_t first, int64_t count, std::span<float> out) const {
  read_base_rows(index, first, count, out);
  const auto& entry = entries_.at(index);
  if (entry.delta.a.defined()) {
    Tensor rows = at::from_blob(out.data(), {count, entry.delta.a.size(1)}, at::TensorOptions(at::kFloat));
    apply_delta(entry.delta, first, rows);
  }
  if (all_finite(out)) return;
  fail(ExitCode::numerical, "tensor " + tensors_[index].name + " has a value that is not finite");
}

void for_each_block(const WeightSource& source, size_t index, int64_t multiple,
                    const std::function<void(int64_t, int64_t, std::span<const float>)>& use) {
  const auto shape = row_shape(source.tensors()[index].shape);
  const int64_t step = rows_at_a_time(shape.columns, multiple);
  std::vector<float> values;
  for (int64_t first = 0; first < shape.rows; first += step) {
    const int64_t rows = std::min(step, shape.rows - first);
    values.resize(rows * shape.columns);
    source.read_rows(index, first, rows, values);
    use(first, rows, values);
    source.release();  // a large tensor is mapped a block at a time, too
  }
}

}  // namespace prentice

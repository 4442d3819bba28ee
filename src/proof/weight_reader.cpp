#include "proof/weight_reader.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <variant>

#include "adapter/merge.h"
#include "adapter/qat.h"

namespace prentice {

namespace {

Tensor some_rows(const Tensor& tensor, int64_t first, int64_t count) {
  return tensor.dim() > 0 ? tensor.narrow(0, first, count) : tensor;
}

Tensor some_rows(const GgufBlocks& blocks, int64_t first, int64_t count) {
  return dequantized(rows_of(blocks, first, count), at::kFloat);
}

// Rows of what a layer's products read: the adapter is in it, rounded where the file rounds.
Tensor rows_in_products(const Linear& linear, int64_t first, int64_t count) {
  if (!linear.lora) {
    if (const auto* blocks = std::get_if<GgufBlocks>(&linear.weight)) return some_rows(*blocks, first, count);
    return some_rows(weight_values(linear), first, count);
  }
  if (!linear.lora->served) return some_rows(merged_weight(weight_values(linear), *linear.lora), first, count);
  const HeldWeight& held = linear.lora->served->of(dense_weight(linear), *linear.lora);
  if (const auto* blocks = std::get_if<GgufBlocks>(&held)) return some_rows(*blocks, first, count);
  return some_rows(std::get<Dense>(held).weight, first, count);
}

}  // namespace

WeightReader reader_of(const WeightSource& source) {
  const auto places = std::make_shared<std::map<std::string, size_t>>();
  for (const auto& tensor : source.tensors()) (*places)[tensor.name] = places->size();
  return {source.spec(), [&source, places](const std::string& name, int64_t first, const Tensor& destination) {
            const int64_t rows = destination.dim() > 0 ? destination.size(0) : 1, columns = destination.numel() / rows;
            const int64_t step = rows_at_a_time(columns, 1);
            auto* values = destination.mutable_data_ptr<float>();
            for (int64_t row = 0; row < rows; row += step) {  // as they are written
              const int64_t count = std::min(step, rows - row);
              source.read_rows(places->at(name), first + row, count,
                               {values + row * columns, static_cast<size_t>(count * columns)});
              source.release();
            }
          }};
}

WeightReader reader_of(const GgufReader& file, const ModelSpec& spec) {
  const auto tensors = std::make_shared<std::map<std::string, GgufTensor>>();
  for (auto& tensor : match_gguf(spec, file)) tensors->emplace(tensor.name, tensor);
  return {spec, [&file, spec, tensors](const std::string& name, int64_t first, const Tensor& destination) {
            copy_gguf_values(tensors->at(name), spec, destination, first);
            file.release_pages();
          }};
}

WeightReader reader_of(const Model& model) {
  using Rows = std::function<Tensor(int64_t first, int64_t count)>;
  const auto tensors = std::make_shared<std::map<std::string, Rows>>();
  visit(model, [&](const std::string& name, const Tensor& tensor) {
    (*tensors)[name] = [tensor](int64_t first, int64_t count) { return some_rows(tensor, first, count); };
  });
  visit_linears(model, [&](const Linear& linear) {
    (*tensors)[linear.name + ".weight"] = [&linear](int64_t first, int64_t count) {
      return rows_in_products(linear, first, count);
    };
  });
  if (const auto& held = model.embed_blocks) {
    (*tensors)[model.spec.names.embed + ".weight"] = [held](int64_t first, int64_t count) {
      return some_rows(*held, first, count);
    };
  }
  // The decoder alone may have other names than the model around it, in the same order.
  ModelSpec spec = decoder_alone(model.spec);
  const auto own = expected_tensors(model.spec), alone = expected_tensors(spec);
  const auto names = std::make_shared<std::map<std::string, std::string>>();
  for (size_t i = 0; i < own.size(); ++i) (*names)[alone[i].name] = own[i].name;
  return {std::move(spec), [tensors, names](const std::string& name, int64_t first, const Tensor& destination) {
            destination.copy_(tensors->at(names->at(name))(first, destination.dim() > 0 ? destination.size(0) : 1));
          }};
}

}  // namespace prentice

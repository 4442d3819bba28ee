#include "proof/four_bits_reader.h"

#include <ATen/ops/empty.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "model/stored_nf4.h"
#include "quant/nf4.h"

namespace prentice {

namespace {

struct Rounded {
  WeightReader weights;
  bool nested = true;
  std::map<std::string, std::vector<int64_t>> shapes = {};  // of those in four bits
  std::string name = {};
  Tensor values = {};  // [rows, columns] f32: all that `name` holds

  void take(const std::string& wanted) {
    if (name == wanted) return;
    const auto& shape = shapes.at(wanted);
    values = at::empty(shape, at::kFloat);
    weights.read(wanted, 0, values);
    Nf4 held = make_nf4(shape[0], shape[1], nested, at::TensorOptions(at::kFloat));
    encode_nf4(values, held);
    decode_nf4(held, values);
    name = wanted;
  }
};

}  // namespace

WeightReader in_four_bits(WeightReader weights, Quantize quantize) {
  const auto rounded =
      std::make_shared<Rounded>(Rounded{.weights = std::move(weights), .nested = quantize == Quantize::nf4});
  const ModelSpec& spec = rounded->weights.spec;
  const auto quantized = nf4_weights(spec);
  for (const auto& tensor : expected_tensors(spec)) {
    if (quantized.contains(tensor.name)) rounded->shapes[tensor.name] = tensor.shape;
  }
  return {spec, [rounded](const std::string& name, int64_t first, const Tensor& destination) {
            if (!rounded->shapes.contains(name)) return rounded->weights.read(name, first, destination);
            rounded->take(name);
            destination.copy_(rounded->values.narrow(0, first, destination.size(0)));
          }};
}

}  // namespace prentice

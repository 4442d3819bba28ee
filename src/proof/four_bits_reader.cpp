#include "proof/four_bits_reader.h"

#include <map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "model/stored_nf4.h"
#include "quant/nf4.h"

namespace prentice {

namespace {

// Scales follow from all of a matrix.
void round_to_four_bits(const Tensor& matrix, bool nested) {
  Nf4 held = make_nf4(matrix.size(0), matrix.size(1), nested, at::TensorOptions(at::kFloat));
  encode_nf4(matrix, held);
  Tensor values = matrix;
  decode_nf4(held, values);
}

}  // namespace

WeightReader in_four_bits(WeightReader weights, Quantize quantize) {
  const ModelSpec spec = weights.spec;
  std::map<std::string, std::vector<int64_t>> shapes;
  const auto quantized = nf4_weights(spec);
  for (const auto& tensor : expected_tensors(spec)) {
    if (quantized.contains(tensor.name)) shapes[tensor.name] = tensor.shape;
  }
  return {spec, [weights = std::move(weights), shapes = std::move(shapes), nested = quantize == Quantize::nf4](
                    const std::string& name, int64_t first, const Tensor& destination) {
            weights.read(name, first, destination);
            const auto shape = shapes.find(name);
            if (shape == shapes.end()) return;
            if (destination.sizes() != at::IntArrayRef(shape->second))
              fail(ExitCode::internal, "a part of " + name + " is asked for in four bits");
            round_to_four_bits(destination, nested);
          }};
}

}  // namespace prentice

#include "proof/served_reader.h"

#include <utility>

namespace prentice {

WeightReader as_served(WeightReader weights, ServedTypes types) {
  return {std::move(weights.spec), [read = std::move(weights.read), types = std::move(types)](
                                       const std::string& name, int64_t first, const Tensor& destination) {
            read(name, first, destination);
            const auto type = types.find(name);
            if (type == types.end()) return;
            const HeldWeight held = encode_served(destination, type->second);
            const auto* blocks = std::get_if<GgufBlocks>(&held);
            destination.copy_(blocks ? dequantized(*blocks, at::kFloat) : std::get<Dense>(held).weight);
          }};
}

}  // namespace prentice

#include "export/served_reader.h"

#include <utility>

namespace prentice {

WeightReader as_served(WeightReader weights, ServedTypes types) {
  const auto round = [types = std::move(types)](const std::string& name, const Tensor& destination) {
    const auto type = types.find(name);
    if (type == types.end()) return;
    const HeldWeight held = encode_served(destination, type->second);
    const auto* blocks = std::get_if<GgufBlocks>(&held);
    destination.copy_(blocks ? dequantized(*blocks, at::kFloat) : std::get<Dense>(held).weight);
  };
  WeightReader served{weights.spec,
                      [read = std::move(weights.read), round](const std::string& name, const Tensor& destination) {
                        read(name, destination);
                        round(name, destination);
                      }};
  if (weights.read_rows) {
    served.read_rows = [read = std::move(weights.read_rows), round](const std::string& name, int64_t first,
                                                                    const Tensor& destination) {
      read(name, first, destination);
      round(name, destination);
    };
  }
  return served;
}

}  // namespace prentice

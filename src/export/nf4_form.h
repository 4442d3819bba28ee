// The form in which bitsandbytes stores a weight of four bits: which tensors stand for it, and what config.json says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "io/safetensors.h"
#include "model/spec.h"
#include "quant/nf4.h"

namespace prentice {

// The tensors of the weight `name` [rows, columns], scales nested, in the order they are written: wider types first,
// and whole multiples of 8 bytes in all, so that whatever follows is aligned.
std::vector<TensorInfo> nf4_tensors(const std::string& name, const std::vector<int64_t>& shape);
// The bytes of those tensors, in that order. `type`: "bfloat16", what bitsandbytes makes of it again.
std::vector<std::vector<std::byte>> nf4_bytes_of(const Nf4&, const std::string& name, std::string_view type);

// "quantization_config" of config.json. `head`: the module that is left as it is.
Json nf4_config(std::string_view type, const std::string& head);

}  // namespace prentice

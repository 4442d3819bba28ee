#include "core/random.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core/parallel.h"
#include "model/make.h"
#include "model/model.h"

namespace prentice {

namespace {

// Two normal numbers from two words; the first word is moved off 0.
void write_normals(uint32_t first, uint32_t second, float* out) {
  const auto [radius, angle] = normal_point(std::log((first + 1.0) * 0x1p-32), second * 0x1p-32);
  out[0] = static_cast<float>(radius * std::cos(angle));
  out[1] = static_cast<float>(radius * std::sin(angle));
}

// Element i comes from block i / 4 of the stream that seed and name select.
void fill_normal(Tensor& tensor, double deviation, uint64_t seed, const std::string& name) {
  const int64_t count = tensor.numel();
  Tensor values = at::empty({(count + 3) / 4 * 4}, at::TensorOptions(at::kFloat));
  float* out = values.data_ptr<float>();
  const uint64_t stream = hash_of(name);
  at::parallel_for(0, values.numel() / 4, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const auto words = philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                     static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
      write_normals(words[0], words[1], out + 4 * block);
      write_normals(words[2], words[3], out + 4 * block + 2);
    }
  });
  tensor.copy_(values.narrow(0, 0, count).view(tensor.sizes()).mul_(deviation));
}

}  // namespace

void start_weight(const ModelSpec& spec, uint64_t seed, const std::string& name, Tensor& tensor) {
  if (tensor.dim() == 2) return fill_normal(tensor, spec.initializer_range, seed, name);
  tensor.fill_(name.ends_with(".bias") ? 0.0 : 1.0 - spec.norm_offset);
}

Model random_model(const ModelSpec& spec, uint64_t seed, const LoadOptions& options) {
  const c10::NoGradGuard no_grad;
  Model model = make_model(spec, options);
  if (options.device.is_meta()) return model;  // shapes alone: numbers of a 14B model take minutes
  visit(model, [&](const std::string& name, Tensor& tensor) { start_weight(spec, seed, name, tensor); });
  visit_linears(model, [&](Linear& linear) {
    auto* held = std::get_if<Nf4>(&linear.weight);
    if (!held) return;
    Tensor values = at::empty({held->rows, held->columns}, at::TensorOptions(options.dtype));
    start_weight(spec, seed, linear.name + ".weight", values);
    encode_nf4(values, *held);
  });
  return model;
}

}  // namespace prentice

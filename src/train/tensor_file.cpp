#include "train/tensor_file.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

#include "core/error.h"

namespace prentice {

namespace {

DType dtype_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return DType::f32;
    case at::kDouble:
      return DType::f64;
    case at::kBFloat16:
      return DType::bf16;
    case at::kHalf:
      return DType::f16;
    case at::kByte:
      return DType::u8;
    case at::kLong:
      return DType::i64;
    default:
      fail(ExitCode::internal, "a trained tensor has a dtype that checkpoints do not hold");
  }
}

Tensor on_host(const Tensor& tensor) { return tensor.detach().cpu().contiguous(); }

std::span<const std::byte> bytes_of(const Tensor& host) {
  return {static_cast<const std::byte*>(host.const_data_ptr()), static_cast<size_t>(host.nbytes())};
}

bool same_form(const TensorView& stored, const Tensor& tensor) {
  return stored.dtype == dtype_of(tensor) && tensor.sizes().vec() == stored.shape;
}

}  // namespace

void write_tensors(const std::filesystem::path& path, const NamedTensors& tensors) {
  std::vector<TensorInfo> declared;
  for (const auto& [name, tensor] : tensors) declared.push_back({name, dtype_of(tensor), tensor.sizes().vec()});
  SafetensorsWriter writer(path, std::move(declared));
  for (const auto& [name, tensor] : tensors) {
    const Tensor host = on_host(tensor);
    writer.write(name, bytes_of(host));
  }
  writer.finish();
}

void read_tensors(const std::filesystem::path& path, const NamedTensors& tensors) {
  const auto file = SafetensorsFile::open(path);
  if (file.tensors().size() != tensors.size()) {
    fail(ExitCode::model,
         fmt::format("{}: expected {} tensors, got {}", path.string(), tensors.size(), file.tensors().size()));
  }
  with_context(ExitCode::model, path.string(), [&] {
    for (const auto& [name, tensor] : tensors) {
      const auto* stored = file.find(name);
      if (stored == nullptr) fail(ExitCode::model, "tensor " + name + " is missing");
      fill_tensor(tensor, *stored);
      file.release_pages();
    }
  });
}

bool same_bytes(const TensorView& stored, const Tensor& tensor) {
  if (!same_form(stored, tensor)) return false;
  const Tensor host = on_host(tensor);
  const auto bytes = bytes_of(host);
  return bytes.size() == stored.bytes.size() && std::memcmp(bytes.data(), stored.bytes.data(), bytes.size()) == 0;
}

void fill_tensor(const Tensor& tensor, const TensorView& stored) {
  if (!same_form(stored, tensor)) {
    fail(ExitCode::model,
         fmt::format("tensor {}: expected {} [{}], got {} [{}]", stored.name, dtype_name(dtype_of(tensor)),
                     fmt::join(tensor.sizes(), ", "), dtype_name(stored.dtype), fmt::join(stored.shape, ", ")));
  }
  const at::NoGradGuard no_grad;
  // The mapping is read-only; from_blob wants a plain pointer and nothing writes through it.
  auto* data = const_cast<std::byte*>(stored.bytes.data());
  const auto options = at::TensorOptions().dtype(tensor.scalar_type());
  tensor.detach().copy_(at::from_blob(data, tensor.sizes(), options));
}

}  // namespace prentice

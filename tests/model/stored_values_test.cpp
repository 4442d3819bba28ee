// Tensors that are filled slice by slice by several threads, from files whose bytes lie anywhere.
#include "model/stored_values.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include "io/scratch.h"

namespace prentice {
namespace {

// 2.5 slices of f32, 1.25 of bf16, and what a slice of a small tensor is.
constexpr int64_t kManyElements = (int64_t{10} << 20) / 4 + 3, kFewElements = 5;

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

// One byte before the values puts each of them at an odd address.
SafetensorsFile write(const std::filesystem::path& path, const Tensor& many, const Tensor& few, bool odd) {
  std::vector<TensorInfo> infos = {{"many", DType::f32, many.sizes().vec()}, {"few", DType::f32, few.sizes().vec()}};
  if (odd) infos.insert(infos.begin(), {"byte", DType::u8, {1}});
  SafetensorsWriter writer(path, infos);
  if (odd) writer.write("byte", std::vector<std::byte>(1));
  writer.write("many", bytes_of(many));
  writer.write("few", bytes_of(few));
  writer.finish();
  return SafetensorsFile::open(path);
}

TEST(StoredValues, EverySliceOfEveryFileArrivesWhateverItsTypeAndPlace) {
  const Scratch scratch;
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  const Tensor many = at::arange(kManyElements, at::kFloat).remainder(12345).neg(),
               few = many.narrow(0, 7, kFewElements);
  const auto even = write(scratch / "even.safetensors", many, few.contiguous(), false);
  const auto odd = write(scratch / "odd.safetensors", many, few.contiguous(), true);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    std::vector<StoredCopy> copies;
    for (const auto* file : {&even, &odd}) {
      for (const auto* name : {"many", "few"}) {
        const TensorView* view = file->find(name);
        copies.push_back({at::empty(view->shape, at::TensorOptions(type)), view});
      }
    }
    copy_stored(copies);
    for (const auto& [destination, view] : copies) {
      const Tensor& want = view->name == "many" ? many : few;
      EXPECT_TRUE(at::equal(destination, want.to(type))) << view->name << " " << type;
    }
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace prentice

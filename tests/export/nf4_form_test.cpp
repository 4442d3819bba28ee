// What is written of a weight in four bits against bitsandbytes (tests/golden/quant, made by scripts/golden/nf4.py).
#include "export/nf4_form.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>

#include "io/safetensors.h"
#include "model/stored_values.h"

namespace prentice {
namespace {

constexpr const char* kStored[] = {"nested_absmax", "",       "",
                                   "codes",         "places", "state"};  // "": the same for all weights

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(Nf4Form, EveryTensorHoldsTheBytesOfBitsandbytes) {
  const auto golden = SafetensorsFile::open("tests/golden/quant/nf4.safetensors");
  const std::map<at::ScalarType, const char*> words = {
      {at::kFloat, "float32"}, {at::kBFloat16, "bfloat16"}, {at::kHalf, "float16"}};
  int cases = 0;
  for (const auto& view : golden.tensors()) {
    if (!view.name.ends_with(".values")) continue;
    const std::string name = view.name.substr(0, view.name.find('.'));
    const Tensor values = stored_values(view);
    int64_t block = 0;
    std::memcpy(&block, golden.find(name + ".block")->bytes.data(), sizeof(block));
    Nf4 held = make_nf4(view.shape[0], view.shape[1], true, values.options(), block);
    encode_nf4(values, held);
    const auto written = nf4_bytes_of(held, name, words.at(values.scalar_type()));
    ASSERT_EQ(written.size(), std::size(kStored));
    for (size_t i = 0; i < written.size(); ++i) {
      if (*kStored[i] == '\0') continue;
      const TensorView* wanted = golden.find(name + "." + kStored[i]);
      std::string found = text_of(written[i]);
      if (kStored[i] == std::string("state")) found.erase(found.find_last_not_of(' ') + 1);  // blanks that align
      EXPECT_EQ(found, text_of({wanted->bytes.begin(), wanted->bytes.end()})) << name << "." << kStored[i];
    }
    ++cases;
  }
  EXPECT_EQ(cases, 19);
}

}  // namespace
}  // namespace prentice

// A vocabulary that is larger than the files': which rows are whose. transformers' resized models are the reference of
// tests/oracle/test_add_tokens.py.
#include "model/resize.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>

#include "model/golden.h"

namespace prentice {
namespace {

const LoadOptions kFloat{.dtype = at::kFloat, .device = at::kCPU};

TEST(Resize, TheFilesRowsStayAndTheOthersBecomeTheMeanOfTheKnown) {
  size_t tied = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenModels)) {
    if (!std::filesystem::exists(entry.path() / "model.safetensors")) continue;
    SCOPED_TRACE(entry.path().filename().string());
    const Model own = load_model(entry.path(), kFloat);
    const int64_t rows = own.spec.vocab, known = rows - 2;
    Model model = load_model(entry.path(), kFloat, rows + 2);
    EXPECT_EQ(model.spec.vocab, rows + 2);
    EXPECT_EQ(dense_weight(model.head).size(0), rows + 2);
    tied += model.spec.tied_head;
    EXPECT_EQ(dense_weight(model.head).is_same(model.embed), model.spec.tied_head);
    const std::vector<int32_t> ids = {static_cast<int32_t>(rows - 1), static_cast<int32_t>(rows + 1)};
    start_rows(model, ids, known);
    const auto check = [&](const Tensor& grown, const Tensor& before) {
      EXPECT_TRUE(at::equal(grown.narrow(0, 0, rows - 1), before.narrow(0, 0, rows - 1)));
      EXPECT_EQ(grown.select(0, rows).abs().max().item<float>(), 0);  // a row that no token has
      const Tensor mean = before.narrow(0, 0, known).to(at::kDouble).mean(at::IntArrayRef{0}).to(at::kFloat);
      for (const int32_t id : ids) EXPECT_TRUE(at::allclose(grown.select(0, id), mean, 1e-6, 1e-7));
    };
    check(model.embed, own.embed);
    check(dense_weight(model.head), dense_weight(own.head));
    // Everything else is the file's.
    visit(model, [&](const std::string& name, const Tensor& tensor) {
      visit(own, [&](const std::string& other, const Tensor& stored) {
        if (name == other && tensor.sizes() == stored.sizes()) EXPECT_TRUE(at::equal(tensor, stored)) << name;
      });
    });
  }
  EXPECT_GT(tied, 0u);
}

TEST(Resize, AHeadsBiasStartsAtItsMean) {
  ModelSpec spec = read_spec(kGoldenModels / "mistral_window");
  spec.head_bias = true;
  Model model = random_model(spec, 1, {.dtype = at::kBFloat16, .device = at::kCPU});
  model.head.bias.copy_(at::arange(spec.vocab));
  const std::vector<int32_t> ids = {static_cast<int32_t>(spec.vocab - 1)};
  start_rows(model, ids, 5);
  EXPECT_EQ(model.head.bias[spec.vocab - 1].item<float>(), 2);
  EXPECT_EQ(model.head.bias[spec.vocab - 2].item<float>(), at::arange(spec.vocab).to(at::kBFloat16)[-2].item<float>());
}

TEST(Resize, FewerRowsThanTheFilesAreNotMade) {
  EXPECT_EQ(load_model(kGoldenModels / "mistral_window", kFloat, 3).spec.vocab,
            load_model(kGoldenModels / "mistral_window", kFloat).spec.vocab);
}

}  // namespace
}  // namespace prentice

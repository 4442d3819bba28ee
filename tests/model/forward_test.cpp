// The decoder against transformers (tests/golden/model, scripts/golden/model.py) and against itself.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <c10/core/GradMode.h>

#include "model/golden.h"
#include "model/model.h"

namespace prentice {
namespace {

struct GoldenCase {
  const char* name;
  c10::ScalarType type;
  double tolerance;
};
std::string case_name(const testing::TestParamInfo<GoldenCase>& info) {
  return std::string(info.param.name) + (info.param.type == at::kDouble ? "_f64" : "_f32");
}

class AgainstTransformers : public testing::TestWithParam<GoldenCase> {
 protected:
  const std::filesystem::path folder = kGoldenModels / GetParam().name;
  std::map<std::string, Tensor> expected = read_tensors(folder / "expected.safetensors");
  Model model = load_model(folder, {.dtype = GetParam().type, .device = at::kCPU});
  Batch batch = flat_batch(cut(expected["tokens"], expected["starts"]));
};

TEST_P(AgainstTransformers, LogitsAndEveryGradientAreEqual) {
  require_gradients(model);
  const Tensor scores = logits(model, forward_hidden(model, batch, {}));
  EXPECT_LT(relative(scores, expected["logits"]), GetParam().tolerance);
  mean_cross_entropy(scores, batch).backward();
  for (const auto& [name, gradient] : gradients(model)) {
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_LT(relative(gradient, expected.at("grad." + name)), GetParam().tolerance) << name;
  }
}

TEST_P(AgainstTransformers, RecomputationGivesTheSameBits) {
  require_gradients(model);
  mean_cross_entropy(logits(model, forward_hidden(model, batch, {})), batch).backward();
  const auto plain = gradients(model);
  for (const Recomputed again : {Recomputed::mlp, Recomputed::block}) {
    visit(model, [](const std::string&, Tensor& tensor) { tensor.mutable_grad() = Tensor(); });
    mean_cross_entropy(logits(model, forward_hidden(model, batch, {.recomputed = again})), batch).backward();
    for (const auto& [name, gradient] : gradients(model)) EXPECT_TRUE(at::equal(gradient, plain.at(name))) << name;
  }
}

TEST_P(AgainstTransformers, PackedEqualsUnpacked) {
  const c10::NoGradGuard no_grad;
  const Tensor packed = forward_hidden(model, batch, {});
  std::vector<Tensor> alone;
  for (const auto& ids : cut(expected["tokens"], expected["starts"])) {
    alone.push_back(forward_hidden(model, flat_batch({ids}), {}));
  }
  EXPECT_LT(relative(packed, at::cat(alone)), GetParam().tolerance);
}

TEST_P(AgainstTransformers, NoTokenReachesAnotherSequenceOrAnEarlierPosition) {
  const c10::NoGradGuard no_grad;
  auto sequences = cut(expected["tokens"], expected["starts"]);
  const Tensor before = forward_hidden(model, flat_batch(sequences), {});
  const size_t changed_at = 4;
  int64_t first = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    auto changed = sequences;
    const size_t t = std::min(changed_at, changed[s].size() - 1);
    changed[s][t] = (changed[s][t] + 1) % model.spec.vocab;
    const Tensor same = (forward_hidden(model, flat_batch(changed), {}) == before).all(1);
    for (int64_t row = 0; row < before.size(0); ++row) {
      const auto inside = row - first;
      const bool reached = inside >= static_cast<int64_t>(t) && inside < static_cast<int64_t>(sequences[s].size());
      if (!reached) {
        EXPECT_TRUE(same[row].item<bool>()) << "sequence " << s << " changed row " << row;
      }
    }
    EXPECT_FALSE(same[first + static_cast<int64_t>(t)].item<bool>());
    first += static_cast<int64_t>(sequences[s].size());
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, AgainstTransformers,
                         testing::Values(GoldenCase{"llama_biased_llama3", at::kFloat, 1e-5},
                                         GoldenCase{"llama_biased_llama3", at::kDouble, 1e-9},
                                         GoldenCase{"llama_tied_linear", at::kFloat, 1e-5},
                                         GoldenCase{"llama_tied_linear", at::kDouble, 1e-9},
                                         GoldenCase{"mistral_window", at::kFloat, 1e-5},
                                         GoldenCase{"mistral_window", at::kDouble, 1e-9},
                                         GoldenCase{"qwen2_window", at::kFloat, 1e-5},
                                         GoldenCase{"qwen2_window", at::kDouble, 1e-9}),
                         case_name);

TEST(Forward, Bf16StaysNearF32) {
  const auto folder = kGoldenModels / "qwen2_window";
  const c10::NoGradGuard no_grad;
  auto expected = read_tensors(folder / "expected.safetensors");
  const Batch batch = flat_batch(cut(expected["tokens"], expected["starts"]));
  const Model model = load_model(folder, {.dtype = at::kBFloat16, .device = at::kCPU});
  EXPECT_LT(relative(logits(model, forward_hidden(model, batch, {})), expected["logits"]), 0.05);
}

TEST(Stories260K, TheThreeLargestLogitsAreTheReferenceOnes) {
  const auto folder = shared_data() / "models/stories260K-hf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const c10::NoGradGuard no_grad;
  const Model model = load_model(folder, {.dtype = at::kFloat, .device = at::kCPU});
  const Tensor scores = logits(model, forward_hidden(model, flat_batch({{1, 403, 407, 261, 378}}), {}))[4];
  EXPECT_NEAR(scores[432].item<float>(), 17.7994, 1e-4);
  EXPECT_NEAR(scores[383].item<float>(), 14.2813, 1e-4);
  EXPECT_NEAR(scores[322].item<float>(), 9.7097, 1e-4);
  EXPECT_EQ((scores >= scores[322]).sum().item<int64_t>(), 3);
}

}  // namespace
}  // namespace prentice

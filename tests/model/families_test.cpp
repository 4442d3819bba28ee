// What must hold for a decoder of any family, on random weights in f64; that each is its reference's equal is shown
// live by tests/oracle/test_model.py.
#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <c10/core/GradMode.h>

#include "model/generate.h"
#include "model/golden.h"
#include "model/model.h"

namespace prentice {
namespace {

struct FamilyCase {
  const char* name;
  const char* config;  // members beside the shape
};

constexpr const char* kLongrope =
    R"("architectures": ["Phi3ForCausalLM"], "original_max_position_embeddings": 8, "rope_scaling": {"type": "longrope",
       "short_factor": [1, 1.1, 1.2, 1.3], "long_factor": [2, 3, 4, 5]})";

const FamilyCase kCases[] = {
    {"llama", R"("architectures": ["LlamaForCausalLM"], "attention_bias": true, "mlp_bias": true)"},
    {"yarn", R"("architectures": ["Qwen2ForCausalLM"], "rope_scaling": {"type": "yarn", "factor": 4,
        "original_max_position_embeddings": 8})"},
    {"qwen3", R"("architectures": ["Qwen3ForCausalLM"], "head_dim": 8, "use_sliding_window": true, "sliding_window": 5,
        "max_window_layers": 1)"},
    {"phi3", R"("architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.75, "sliding_window": 5)"},
    {"phi3_longrope", kLongrope},
    {"gemma", R"("architectures": ["GemmaForCausalLM"], "head_dim": 8)"},
    {"gemma2", R"("architectures": ["Gemma2ForCausalLM"], "head_dim": 8, "sliding_window": 5,
        "attn_logit_softcapping": 2, "final_logit_softcapping": 3)"},
    {"gemma3", R"("architectures": ["Gemma3ForCausalLM"], "head_dim": 8, "sliding_window": 5,
        "sliding_window_pattern": 2)"},
    {"phi", R"("architectures": ["PhiForCausalLM"], "qk_layernorm": true)"},
    {"phi_tied", R"("architectures": ["PhiForCausalLM"], "tie_word_embeddings": true)"},
    {"stablelm", R"("architectures": ["StableLmForCausalLM"], "use_qkv_bias": true)"},
    {"stablelm_parallel", R"("architectures": ["StableLmForCausalLM"], "use_parallel_residual": true,
        "qk_layernorm": true)"},
};

Model random_case(const FamilyCase& family) {
  const Json config = Json::parse(R"({"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
      "num_key_value_heads": 2, "intermediate_size": 24, "vocab_size": 40, "initializer_range": 0.3, )" +
                                  std::string(family.config) + "}");
  Model model = random_model(read_spec(config), 5, {.dtype = at::kDouble, .device = at::kCPU});
  const c10::NoGradGuard no_grad;
  visit(model, [](const std::string&, Tensor& tensor) {  // norms and biases too, so that a forgotten one shows
    tensor.add_(at::randn_like(tensor), 0.1);
  });
  return model;
}

const std::vector<std::vector<int64_t>> kSequences = {
    {1, 17, 5, 39, 8, 33, 2, 2, 19, 4, 12}, {7, 30, 21}, {9}, {0, 11, 6, 6, 25, 38, 14, 3, 22, 10, 1, 16, 28, 35}};

class AnyFamily : public testing::TestWithParam<FamilyCase> {
 protected:
  Model model = random_case(GetParam());
  Batch batch = flat_batch(kSequences);
};

TEST_P(AnyFamily, EveryTensorTrainsAndRecomputationGivesTheSameBits) {
  require_gradients(model);
  mean_cross_entropy(logits(model, forward_hidden(model, batch, {})), batch).backward();
  const auto plain = gradients(model);
  for (const Recomputed again : {Recomputed::mlp, Recomputed::block}) {
    visit(model, [](const std::string&, Tensor& tensor) { tensor.mutable_grad() = Tensor(); });
    mean_cross_entropy(logits(model, forward_hidden(model, batch, {.recomputed = again})), batch).backward();
    for (const auto& [name, gradient] : gradients(model)) {
      ASSERT_TRUE(plain.at(name).defined() && gradient.defined()) << name;
      EXPECT_TRUE(at::equal(gradient, plain.at(name))) << name;
      EXPECT_GT(gradient.abs().max().item<double>(), 0) << name;
    }
  }
}

// In halves, too, every sum is rounded as often: the norm that is computed again is not fused with the addition before.
TEST_P(AnyFamily, RecomputationGivesTheSameBitsInBf16) {
  visit(model, [](const std::string&, Tensor& tensor) { tensor = tensor.to(at::kBFloat16); });
  require_gradients(model);
  std::map<std::string, Tensor> plain;
  for (const Recomputed again : {Recomputed::nothing, Recomputed::mlp, Recomputed::block}) {
    visit(model, [](const std::string&, Tensor& tensor) { tensor.mutable_grad() = Tensor(); });
    const Tensor hidden = forward_hidden(model, batch, {.recomputed = again});
    mean_cross_entropy(logits(model, hidden), batch).backward();
    auto found = gradients(model);
    found.emplace("hidden", hidden.detach());
    if (again == Recomputed::nothing) plain = found;
    for (const auto& [name, tensor] : found) EXPECT_TRUE(at::equal(tensor, plain.at(name))) << name;
  }
}

TEST_P(AnyFamily, PackedEqualsUnpacked) {
  const c10::NoGradGuard no_grad;
  std::vector<Tensor> alone;
  for (const auto& ids : kSequences) alone.push_back(forward_hidden(model, flat_batch({ids}), {}));
  EXPECT_LT(relative(forward_hidden(model, batch, {}), at::cat(alone)), 1e-12);
}

// A rotation that changes on the way is seen as transformers sees it: the last rows are those of the whole sequence.
TEST_P(AnyFamily, TheCacheGivesTheFullForwardPass) {
  const c10::NoGradGuard no_grad;
  const auto& ids = kSequences[3];
  const std::vector<int32_t> narrow(ids.begin(), ids.end());
  KvCache cache(model);
  for (const auto& [from, count] : {std::pair<size_t, size_t>{0, 5}, {5, 1}, {6, 2}, {8, 1}, {9, 5}}) {
    const Tensor part = forward_cached(model, std::span(narrow).subspan(from, count), cache);
    const Tensor full = forward_hidden(model, flat_batch({{ids.begin(), ids.begin() + from + count}}), {});
    EXPECT_LT(relative(part, full.narrow(0, static_cast<int64_t>(from), static_cast<int64_t>(count))), 1e-12) << from;
  }
  cache.truncate(6);  // back below the change
  const Tensor again = forward_cached(model, std::span(narrow).subspan(6, 1), cache);
  const Tensor full = forward_hidden(model, flat_batch({{ids.begin(), ids.begin() + 7}}), {});
  EXPECT_LT(relative(again, full.narrow(0, 6, 1)), 1e-12);
}

// Rounding of 8 bits in every operation, not another formula.
TEST_P(AnyFamily, Bf16StaysNearF64) {
  const c10::NoGradGuard no_grad;
  Model low = random_model(model.spec, 0, {.dtype = at::kBFloat16, .device = at::kCPU});
  std::map<std::string, Tensor> exact;
  visit(model, [&](const std::string& name, const Tensor& tensor) { exact[name] = tensor; });
  visit(low, [&](const std::string& name, Tensor& tensor) { tensor.copy_(exact.at(name)); });
  visit(model, [&](const std::string& name, Tensor& tensor) { tensor.copy_(exact.at(name).to(at::kBFloat16)); });
  EXPECT_LT(relative(forward_hidden(low, batch, {}), forward_hidden(model, batch, {})), 0.05);
}

INSTANTIATE_TEST_SUITE_P(All, AnyFamily, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace prentice

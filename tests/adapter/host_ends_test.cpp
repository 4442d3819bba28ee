// Which of embedding and head may wait in host memory beside an adapter, and what is read of them there.
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "adapter/tiny.h"
#include "adapter/trainable.h"
#include "model/make.h"
#include "nn/host_rows.h"

namespace prentice {
namespace {

TEST(HostEnds, OnlyWhatIsFrozenAndPlainWaits) {
  struct Case {
    const char* what;
    bool tied;
    std::function<void(AdapterSection&)> change;
    bool embed, head;
  };
  const std::vector<Case> cases = {
      {"all linear layers", false, [](auto&) {}, true, true},
      {"all linear layers, tied", true, [](auto&) {}, true, true},
      {"an adapter on the embedding", false,
       [](auto& s) {
         s.targets = {"embed_tokens", "q_proj"};
       },
       false, true},
      {"an adapter on the head", false,
       [](auto& s) {
         s.targets = {"lm_head", "q_proj"};
       },
       true, false},
      {"an adapter on a tied embedding", true, [](auto& s) { s.targets = {"embed_tokens"}; }, false, false},
      {"a head that trains", false, [](auto& s) { s.modules_to_save = {"lm_head"}; }, true, false},
      {"an embedding that trains", false, [](auto& s) { s.modules_to_save = {"embed_tokens"}; }, false, true},
      {"norms that train", false, [](auto& s) { s.modules_to_save = {"norm"}; }, true, true},
      {"DoRA", false, [](auto& s) { s.kind = AdapterKind::dora; }, true, true},
      {"all weights", false, [](auto& s) { s.kind = AdapterKind::full; }, false, false},
      {"blocks of the served file", false, [](auto& s) { s.qat = "Q8_0"; }, false, false},
  };
  for (const auto& [what, tied, change, embed, head] : cases) {
    for (const Quantize quantize : {Quantize::none, Quantize::nf4}) {
      AdapterSection section = lora_section();
      change(section);
      const HostEnds ends = frozen_ends(tiny_spec(tied), quantize, section);
      EXPECT_EQ(ends.embed, embed) << what;
      EXPECT_EQ(ends.head, head) << what;
    }
  }
}

TEST(HostEnds, AHeadOfScoresStays) {
  ModelSpec spec = tiny_spec();
  spec.labels = 1, spec.names.head = "score";
  const HostEnds ends = frozen_ends(spec, Quantize::none, lora_section());
  EXPECT_TRUE(ends.embed);
  EXPECT_FALSE(ends.head);
}

TEST(HostEnds, RowsAreThoseOfAnEmbedding) {
  const Model model = tiny_model(at::kFloat);
  const Tensor ids = tiny_batch().tokens, wanted = at::embedding(model.embed, ids);
  EXPECT_TRUE(at::equal(rows_from_host(model.embed, ids, ids), wanted));
  EXPECT_TRUE(at::equal(rows_from_host(model.embed, ids, {}), wanted));
  EXPECT_FALSE(rows_from_host(model.embed, ids, ids).requires_grad());
}

// Without a GPU only shapes and places can be asked; tests/job/gpu_offload_test.cpp asks values.
TEST(HostEnds, APassReadsThemFromTheHost) {
  for (const bool tied : {false, true}) {
    const Model model = make_model(
        tiny_spec(tied), {.dtype = at::kFloat, .device = at::kMeta, .host_ends = {.embed = true, .head = true}});
    EXPECT_TRUE(model.embed.is_cpu());
    EXPECT_TRUE(dense_weight(model.head).is_cpu());
    EXPECT_TRUE(device_of(model).is_meta());
    EXPECT_TRUE(embed_options(model).device().is_meta());
    EXPECT_TRUE(dense_weight(with_head_at_hand(model).head).is_meta());
    const Batch batch = to_device(tiny_batch(), at::kMeta);
    EXPECT_TRUE(batch.host_tokens.is_cpu());
    const Tensor hidden = forward_hidden(model, batch, {});
    EXPECT_TRUE(hidden.is_meta());
    EXPECT_EQ(hidden.sizes(), (std::vector<int64_t>{batch.tokens.size(0), 16}));
    EXPECT_EQ(logits(model, hidden).sizes(), (std::vector<int64_t>{batch.tokens.size(0), 41}));
  }
}

}  // namespace
}  // namespace prentice

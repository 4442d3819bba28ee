// Score heads: where a score is read, and how config.json carries one. transformers' own classes are the reference of
// tests/oracle/test_reward.py.
#include "model/score.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>

#include "core/error.h"
#include "model/golden.h"

namespace prentice {
namespace {

const LoadOptions kFloat{.dtype = at::kFloat, .device = at::kCPU};

TEST(Score, IsReadAtTheLastTokenThatIsNotPadding) {
  const ModelSpec plain = with_score_head(read_spec(kGoldenModels / "mistral_window"));
  const Batch batch = flat_batch({{5, 7, 9}, {4, 3, 3}, {3, 3}, {3, 8}});
  const auto scores_with = [&](const ModelSpec& spec) {
    return sequence_scores(load_model(kGoldenModels / "mistral_window", kFloat, spec, 1), batch, {});
  };
  const Model model = load_model(kGoldenModels / "mistral_window", kFloat, plain, 1);
  const Tensor by_token =
      at::matmul(forward_hidden(model, batch, {}), dense_weight(model.head).select(0, 0)).to(at::kDouble);
  const auto check = [&](const ModelSpec& spec, const std::vector<int64_t>& places) {
    const Tensor scores = scores_with(spec);
    for (size_t i = 0; i < places.size(); ++i) {
      EXPECT_NEAR(scores[i].item<double>(), by_token[places[i]].item<double>(), 1e-6) << i;
    }
  };
  ModelSpec none = plain;
  none.pad_id.reset();
  check(none, {2, 5, 7, 9});
  check(with_pad_token(plain, 3), {2, 3, 6, 9});  // nothing but padding: its first token
}

TEST(Score, TheHeadIsAFunctionOfTheSeedAndEverythingElseTheFiles) {
  const auto path = kGoldenModels / "llama_tied_linear";
  const ModelSpec spec = with_score_head(read_spec(path));
  const Model one = load_model(path, kFloat, spec, 1), again = load_model(path, kFloat, spec, 1);
  const Model other = load_model(path, kFloat, spec, 2), files = load_model(path, kFloat);
  EXPECT_EQ(dense_weight(one.head).sizes(), (at::IntArrayRef{1, spec.hidden}));
  EXPECT_TRUE(at::equal(dense_weight(one.head), dense_weight(again.head)));
  EXPECT_FALSE(at::equal(dense_weight(one.head), dense_weight(other.head)));
  EXPECT_TRUE(at::equal(dense_weight(one.head), dense_weight(random_model(spec, 1, kFloat).head)));
  EXPECT_TRUE(at::equal(one.embed, files.embed));
  EXPECT_LT(dense_weight(one.head).abs().max().item<double>(), 6 * spec.initializer_range);
  EXPECT_GT(dense_weight(one.head).abs().max().item<double>(), 0);
}

TEST(Score, AFolderWithAHeadReadsBackAsItself) {
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenModels)) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    const ModelSpec spec = with_pad_token(with_score_head(read_spec(entry.path())), 2);
    const ModelSpec back = read_spec(spec.config);
    EXPECT_EQ(back.labels, 1);
    EXPECT_EQ(back.pad_id, 2);
    EXPECT_FALSE(back.tied_head);
    EXPECT_EQ(back.names.head, "score");
    EXPECT_TRUE(back.architecture.ends_with("ForSequenceClassification")) << back.architecture;
    EXPECT_EQ(with_score_head(back).config.dump(), spec.config.dump());
    EXPECT_EQ(read_spec(entry.path()).labels, 0);
  }
}

// transformers writes id2label and not num_labels; its default is two.
TEST(Score, LabelsAreCountedAsTransformersDoes) {
  Json config = with_score_head(read_spec(kGoldenModels / "mistral_window")).config;
  const auto labels = [&] { return read_spec(config).labels; };
  EXPECT_EQ(labels(), 1);
  config["id2label"] = Json::Object{{"0", "a"}, {"1", "b"}, {"2", "c"}};
  EXPECT_EQ(labels(), 3);
  config["id2label"] = nullptr;
  EXPECT_EQ(labels(), 2);
  config["num_labels"] = int64_t{1};
  EXPECT_EQ(labels(), 1);
}

}  // namespace
}  // namespace prentice

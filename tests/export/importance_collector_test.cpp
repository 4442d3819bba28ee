// Importance matrices of a model: what is collected, whose they are, and what a file is written with.
#include "export/importance_collector.h"

#include <gtest/gtest.h>

#include "export/gguf_model.h"
#include "export/tiny.h"
#include "model/golden.h"

namespace prentice {
namespace {

ImportanceMatrix matrix_of(const Model& model, const std::vector<Batch>& batches) {
  ImportanceCollector collector(model);
  for (const auto& batch : batches) collector.add(batch);
  return {.entries = collector.entries()};
}

TEST(ImportanceCollector, SeveralBatchesGiveWhatOneGives) {
  const Model model = tiny_model(tiny_config());
  const std::vector<int64_t> a = {1, 5, 9, 13, 2}, b = {7, 3, 3}, c = {30, 31};
  const auto together = matrix_of(model, {flat_batch({a, b, c})}),
             apart = matrix_of(model, {flat_batch({a, b}), flat_batch({c})});
  ASSERT_EQ(together.entries.size(), 14u);
  for (const auto& [name, entry] : together.entries) {
    const auto& other = apart.entries.at(name);
    EXPECT_EQ(entry.count, 10) << name;
    EXPECT_EQ(other.count, 10) << name;
    for (size_t i = 0; i < entry.sums.size(); ++i)
      EXPECT_NEAR(entry.sums[i], other.sums[i], 1e-5 * entry.sums[i]) << name << " column " << i;
  }
  const auto sums = [&](const char* name) { return together.entries.at(name).sums; };
  EXPECT_EQ(sums("blk.0.attn_q.weight"), sums("blk.0.attn_v.weight"));  // they read the same
  EXPECT_NE(sums("blk.0.attn_q.weight"), sums("blk.1.attn_q.weight"));
  EXPECT_EQ(sums("blk.1.ffn_down.weight").size(), 96u);
}

TEST(ImportanceCollector, AMatrixOfAnotherModelIsRefusedByTheNameOfAWeight) {
  const Model model = tiny_model(tiny_config());
  const auto good = matrix_of(model, {flat_batch({{1, 2, 3}})});
  EXPECT_NO_THROW(require_importance_of(good, model.spec));
  auto with_ends = good;
  with_ends.entries["output.weight"] = with_ends.entries["token_embd.weight"] = {.sums = {1}, .count = 1};
  EXPECT_NO_THROW(require_importance_of(with_ends, model.spec));
  auto lacks = good, wide = good, more = good;
  lacks.entries.erase("blk.1.ffn_up.weight");
  wide.entries["blk.0.attn_k.weight"].sums.push_back(1);
  more.entries["blk.2.attn_k.weight"] = good.entries.at("blk.0.attn_k.weight");
  const std::pair<ImportanceMatrix, std::string> table[] = {
      {lacks, "blk.1.ffn_up.weight has no entry"},
      {wide, "its entry of blk.0.attn_k.weight has 49 columns, the weight 48"},
      {more, "blk.2.attn_k.weight is no weight of this model"}};
  for (const auto& [matrix, wanted] : table) {
    ExitCode code{};
    const auto message = message_of([&, &matrix = matrix] { require_importance_of(matrix, model.spec); }, &code);
    EXPECT_TRUE(contains(message, wanted)) << wanted << ": " << message;
    EXPECT_EQ(code, ExitCode::model);
  }
}

TEST(ImportanceCollector, ColumnsAreWeightedByTheMeanOfTheirSquares) {
  const ImportanceMatrix matrix{.entries = {{"blk.0.attn_q.weight", {.sums = {2, 8}, .count = 2}},
                                            {"token_embd.weight", {.sums = {1, 1, 1}, .count = 1}}}};
  EXPECT_EQ(column_importance(&matrix, "blk.0.attn_q.weight", 2), (std::vector<float>{1, 4}));
  EXPECT_TRUE(column_importance(&matrix, "token_embd.weight", 2).empty());  // llama.cpp drops it alike
  EXPECT_TRUE(column_importance(&matrix, "output.weight", 2).empty());
  EXPECT_TRUE(column_importance(nullptr, "blk.0.attn_q.weight", 2).empty());
}

}  // namespace
}  // namespace prentice

#include "data/audit.h"

#include "data/support.h"

namespace prentice {
namespace {

DataSet two_tickets(const Scratch& scratch) {
  const auto rows =
      R"({"messages": [{"role": "user", "content": "I paid [twice]"}, {"role": "assistant", "content": "refund"}]})"
      "\n"
      R"({"messages": [{"role": "user", "content": "a\u001b[31m\nb"}, {"role": "assistant", "content": "\ud83d\ude00", "weight": 0.5}]})";
  return load(section_for(write_text(scratch, "rows.jsonl", rows)), office_tokenizer());
}

TEST(Audit, ShowsTokensTotalsAndWhatIsTrained) {
  const Scratch scratch;
  const auto set = two_tickets(scratch);
  const auto audit = audit_data(set, office_tokenizer(), 1);
  ASSERT_EQ(audit.sequences.size(), 1u);
  const auto& first = audit.sequences[0];
  EXPECT_EQ(first.origin.line, 1);
  std::string text, trained;
  for (const auto& token : first.tokens) {
    text += token.text;
    if (token.trained) trained += token.text;
  }
  EXPECT_EQ(text, "<|user|>I paid [twice]<|assistant|>refund<|end|>");
  EXPECT_EQ(trained, "refund<|end|>");
  EXPECT_EQ(audit.rows, 2);
  EXPECT_EQ(audit.totals.sequences, 2);
  EXPECT_EQ(audit.totals.tokens, set.encoded.sequences[0].size() + set.encoded.sequences[1].size());
  const auto labels = static_cast<double>(audit.totals.trained_tokens);
  EXPECT_DOUBLE_EQ(audit.trained_share, labels / static_cast<double>(audit.totals.tokens));
  EXPECT_EQ(audit.totals.lengths.max, set.encoded.longest);
}

TEST(Audit, BracketsMarkWhatIsTrainedAndTheDataCannotFakeThem) {
  const Scratch scratch;
  const auto out = render_audit(audit_data(two_tickets(scratch), office_tokenizer(), 5), AuditStyle::brackets, false);
  EXPECT_TRUE(contains(out, "\n<|user|>I paid \\[twice\\]<|assistant|>[refund<|end|>]\n")) << out;
  EXPECT_TRUE(contains(out, "<|user|>a\\x1b\\[31m\\n\nb<|assistant|>[\U0001f600<|end|>]\n")) << out;
  EXPECT_TRUE(contains(out, "rows.jsonl:1: 2 of ")) << out;
  EXPECT_TRUE(contains(out, "2 rows, 2 sequences, ")) << out;
  EXPECT_FALSE(contains(out, "\x1b"));
}

TEST(Audit, ColourIsClosedAndWeightsAreShownWithTheIds) {
  const Scratch scratch;
  const auto out = render_audit(audit_data(two_tickets(scratch), office_tokenizer(), 5), AuditStyle::colour);
  EXPECT_TRUE(contains(out, "<|assistant|>\x1b[32mrefund<|end|>\x1b[0m\n")) << out;
  EXPECT_TRUE(contains(out, "\x1b[32m0*0.5\x1b[0m")) << out;  // <|end|> of the row that weighs half
}

TEST(Audit, LengthsAreNearestRanks) {
  std::vector<int64_t> lengths;
  for (int i = 100; i >= 1; --i) lengths.push_back(i);
  const auto stats = length_stats(lengths);
  EXPECT_EQ(stats.p50, 50);
  EXPECT_EQ(stats.p95, 95);
  EXPECT_EQ(stats.p99, 99);
  EXPECT_EQ(stats.max, 100);
  EXPECT_EQ(length_stats({7}).p50, 7);
  EXPECT_EQ(length_stats({}).max, 0);
}

}  // namespace
}  // namespace prentice

// Rows of two tokenizations against each other. The second tokenizer is the first without its merges: each of its
// tokens is one byte, so that where a token begins is where it stands.
#include "data/align.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/batch.h"
#include "io/file.h"
#include "io/json.h"
#include "temp_dir.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

const fs::path kTokenizer = "data/quickstart/tokenizer";

// The quickstart's tokenizer by bytes.
Tokenizer bytes_tokenizer() {
  const toy::TempDir folder;
  for (const auto& entry : fs::directory_iterator(kTokenizer)) fs::copy(entry.path(), folder.path());
  Json tokenizer = Json::parse(read_text_file(kTokenizer / "tokenizer.json"));
  tokenizer["model"]["merges"] = Json::Array{};
  std::ofstream(folder / "tokenizer.json") << tokenizer.dump();
  return Tokenizer::load(folder.path());
}

// One row: `prompt` untrained, then `answer` and the end token trained; `filler` more prompt tokens shift the rows.
Sequence row_of(const Tokenizer& tokenizer, const std::string& answer, int filler) {
  Sequence row;
  row.ids.assign(static_cast<size_t>(filler), tokenizer.encode("a", false).at(0));
  row.labels.assign(static_cast<size_t>(filler) - 1, static_cast<int32_t>(kNoLabel));
  std::vector<int32_t> ids = tokenizer.encode(answer, false);
  ids.push_back(*tokenizer.eos_id());
  for (const int32_t id : ids) row.ids.push_back(id), row.labels.push_back(id);
  row.labels.push_back(static_cast<int32_t>(kNoLabel));
  return row;
}

class Align : public testing::TestWithParam<std::string> {
 protected:
  const Tokenizer words_ = Tokenizer::load(kTokenizer), bytes_ = bytes_tokenizer();
};

TEST_P(Align, ATokenMeetsTheByteWhereItBegins) {
  const std::string text = GetParam();
  const Encoding encoding = words_.encode_with_offsets(text, false);
  const auto rows = align_rows({row_of(words_, text, 3), words_}, {row_of(bytes_, text, 5), bytes_});
  ASSERT_EQ(rows.size(), encoding.ids.size() + 1);
  int64_t past = -1;
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const int64_t byte = encoding.offsets[i].begin;
    if (byte == past) continue;  // a later part of one character: told by the next test
    past = byte;
    EXPECT_EQ(rows[i], 4 + byte) << "token " << i;
  }
  EXPECT_EQ(rows.back(), 4 + static_cast<int64_t>(text.size())) << "the end token";
}

TEST_P(Align, AByteInsideATokenMeetsNone) {
  const std::string text = GetParam();
  std::vector<int64_t> expected(text.size() + 1, -1);
  const Encoding encoding = words_.encode_with_offsets(text, false);
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    int64_t byte = encoding.offsets[i].begin;
    while (expected[byte] >= 0) ++byte;  // a later part of one character
    expected[byte] = 2 + static_cast<int64_t>(i);
  }
  expected[text.size()] = 2 + static_cast<int64_t>(encoding.ids.size());
  EXPECT_EQ(align_rows({row_of(bytes_, text, 5), bytes_}, {row_of(words_, text, 3), words_}), expected);
}

TEST_P(Align, OneTokenizerMeetsItselfEverywhere) {
  const Sequence row = row_of(words_, GetParam(), 3);
  const auto rows = align_rows({row, words_}, {row, words_});
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], 2 + static_cast<int64_t>(i));
}

INSTANTIATE_TEST_SUITE_P(Texts, Align,
                         testing::Values("the invoice was paid twice", "your train ticket, number 42: refunded!",
                                         "caf\xc3\xa9 na\xc3\xafve", "x"));

TEST(AlignRows, ASpaceInFrontOfOneTextCountsForNothing) {
  const Tokenizer words = Tokenizer::load(kTokenizer), bytes = bytes_tokenizer();
  const auto rows = align_rows({row_of(words, " the invoice", 3), words}, {row_of(bytes, "the invoice", 3), bytes});
  EXPECT_EQ(rows.front(), 2);
  EXPECT_EQ(rows.back(), 2 + static_cast<int64_t>(std::string("the invoice").size()));
}

TEST(AlignRows, WhiteSpaceThatOneSideLacksShiftsNothing) {
  const Tokenizer words = Tokenizer::load(kTokenizer), bytes = bytes_tokenizer();
  const std::string before = "it was strong.", behind = "one day";
  const auto rows =
      align_rows({row_of(words, before + "\n\n" + behind, 3), words}, {row_of(bytes, before + " " + behind, 3), bytes});
  EXPECT_EQ(rows.back(), 2 + static_cast<int64_t>(before.size() + 1 + behind.size()));
  const auto first = words.encode(before, false).size();
  EXPECT_EQ(rows.at(first), 2 + static_cast<int64_t>(before.size())) << "white space meets white space";
}

TEST(AlignRows, NothingIsComparedBehindTheFirstDifference) {
  const Tokenizer words = Tokenizer::load(kTokenizer), bytes = bytes_tokenizer();
  const auto rows = align_rows({row_of(bytes, "the invoice", 3), bytes}, {row_of(bytes, "the outvoice", 3), bytes});
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], i <= 4 ? 2 + static_cast<int64_t>(i) : -1) << i;
  const Sequence nothing;
  for (const int64_t row : align_rows({row_of(words, "text", 3), words}, {nothing, words})) EXPECT_EQ(row, -1);
}

TEST(AlignRows, EachAnswerMeetsItsOwn) {
  const Tokenizer words = Tokenizer::load(kTokenizer), bytes = bytes_tokenizer();
  const auto two = [](const Tokenizer& tokenizer) {
    Sequence both = row_of(tokenizer, "the", 3);
    const Sequence second = row_of(tokenizer, "end", 4);
    both.ids.insert(both.ids.end(), second.ids.begin(), second.ids.end());
    both.labels.insert(both.labels.end(), second.labels.begin(), second.labels.end());
    return both;
  };
  const Sequence ours = two(words), theirs = two(bytes);
  const auto rows = align_rows({ours, words}, {theirs, bytes});
  const auto second = static_cast<int64_t>(words.encode("the", false).size()) + 1;
  EXPECT_EQ(rows.at(0), 2);
  EXPECT_EQ(rows.at(static_cast<size_t>(second)), 3 + 4 + 3);  // "the", its end and three of the second prompt before
}

}  // namespace
}  // namespace prentice

#include "teacher/row_code.h"

#include <set>

#include "teacher/id_code.h"
#include "teacher/tiny_store.h"

namespace prentice {
namespace {

std::vector<uint32_t> some_ids(std::mt19937& random, size_t count, uint32_t vocabulary) {
  std::set<uint32_t> ids;
  while (ids.size() < count) ids.insert(static_cast<uint32_t>(random() % vocabulary));
  return {ids.begin(), ids.end()};
}

TEST(IdCode, EverySetComesBackInTheBytesThatWereCounted) {
  std::mt19937 random(1);
  for (const uint32_t vocabulary : {1u, 2u, 3u, 7u, 105u, 512u, 32000u, 152064u, 4294967295u}) {
    for (const size_t wanted : {size_t{1}, size_t{2}, size_t{3}, size_t{50}, size_t{105}, size_t{512}}) {
      const size_t count = std::min<size_t>(wanted, vocabulary);
      for (int i = 0; i < 20; ++i) {
        const auto ids = some_ids(random, count, vocabulary);
        std::vector<std::byte> bytes(3, std::byte{0xff});
        encode_ids(ids, vocabulary, bytes);
        EXPECT_EQ(bytes.size() - 3, id_code_bytes(ids, vocabulary));
        EXPECT_LE(bytes.size() - 3, max_id_code_bytes(count, vocabulary));
        std::vector<uint32_t> back(count);
        EXPECT_EQ(decode_ids(std::span(bytes).subspan(3), vocabulary, back), bytes.size() - 3);
        EXPECT_EQ(back, ids);
      }
    }
  }
}

// Written out by hand: {2, 5, 6} of 8. Middle 5 in [1, 7) is 4 of 6 values: cut 2, so 4 + 2 = 6 as 3, then 0: bits 1 1
// 0. Left 2 in [0, 5): cut 3, 2 takes two bits: 0 1. Right 6 in [6, 8): 0.
TEST(IdCode, BitsAreThoseOfTheDefinition) {
  const std::vector<uint32_t> ids = {2, 5, 6};
  std::vector<std::byte> bytes;
  encode_ids(ids, 8, bytes);
  EXPECT_EQ(bytes, (std::vector<std::byte>{std::byte{0b010011}}));
}

TEST(IdCode, NoBytesMakeItLeaveTheVocabulary) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::byte> noise(random() % 40);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    const uint32_t vocabulary = 1 + random() % 2000;
    std::vector<uint32_t> ids(random() % 60);
    ExitCode code{};
    const std::string message = message_of([&] { decode_ids(noise, vocabulary, ids); }, &code);
    if (!message.empty()) {
      EXPECT_EQ(code, ExitCode::malformed);
      continue;
    }
    for (size_t j = 0; j < ids.size(); ++j) {
      EXPECT_LT(ids[j], vocabulary);
      if (j > 0) {
        EXPECT_LT(ids[j - 1], ids[j]);
      }
    }
  }
}

struct Decoded {
  std::vector<int64_t> ids;
  std::vector<float> log_probs;
};

Decoded decoded(const RowRecord& record, std::span<const std::byte> pool, StoredValues values, uint32_t vocabulary) {
  Decoded row{std::vector<int64_t>(record.count), std::vector<float>(record.count)};
  decode_row(record, pool, values, vocabulary, row.ids, row.log_probs);
  return row;
}

TEST(RowCode, ValuesStayWithinTheStatedErrorAndSumToOne) {
  for (const StoredValues values : {StoredValues::q8, StoredValues::f16, StoredValues::f32}) {
    for (const double spread : {0.1, 1.0, 3.0, 6.0}) {
      for (uint64_t seed = 0; seed < 50; ++seed) {
        TeacherRow row = teacher_row(seed, 2000, 50, spread);
        std::ranges::sort(row.entries, {}, &Candidate::id);
        std::vector<std::byte> pool;
        const RowRecord record = encode_row(row.entries, row.outside, values, 2000, pool);
        const Decoded back = decoded(record, pool, values, 2000);
        double sum = record.tail, worst = 0, smallest = 0;
        for (size_t i = 0; i < row.entries.size(); ++i) {
          EXPECT_EQ(back.ids[i], row.entries[i].id);
          sum += std::exp(static_cast<double>(back.log_probs[i]));
          worst = std::max(worst, std::abs(static_cast<double>(back.log_probs[i]) - row.entries[i].log_prob));
          smallest = std::min<double>(smallest, row.entries[i].log_prob);
        }
        EXPECT_NEAR(sum, 1, 1e-6);
        if (values == StoredValues::q8) {
          EXPECT_LE(worst, record.scale * 1.0001 + 1e-6);
        }
        if (values == StoredValues::f16) {
          EXPECT_LE(worst, -smallest * std::ldexp(1, -10) + 1e-6);
        }
        if (values == StoredValues::f32) {
          EXPECT_EQ(worst, 0);
        }
      }
    }
  }
}

TEST(RowCode, AWholeVocabularyNeedsNoIds) {
  TeacherRow row = teacher_row(3, 105, 105);
  std::ranges::sort(row.entries, {}, &Candidate::id);
  std::vector<std::byte> pool;
  const RowRecord record = encode_row(row.entries, 0, StoredValues::f32, 105, pool);
  EXPECT_EQ(pool.size(), 105 * 4u);
  EXPECT_EQ(decoded(record, pool, StoredValues::f32, 105).ids[104], 104);
}

TEST(RowCode, ARecordThatDoesNotFitIsRefused) {
  TeacherRow row = teacher_row(3, 500, 20);
  std::ranges::sort(row.entries, {}, &Candidate::id);
  std::vector<std::byte> pool;
  const RowRecord good = encode_row(row.entries, row.outside, StoredValues::q8, 500, pool);
  std::vector<RowRecord> bad(8, good);
  bad[0].offset = static_cast<uint32_t>(pool.size() + 1);
  bad[1].offset = static_cast<uint32_t>(pool.size() - 3);
  bad[2].count = 0;
  bad[3].count = 21;
  bad[4].tail = 1;
  bad[5].tail = std::nanf("");
  bad[6].scale = -1;
  bad[7].scale = INFINITY;
  for (size_t i = 0; i < bad.size(); ++i) {
    std::vector<int64_t> ids(20);
    std::vector<float> log_probs(20);
    ExitCode code{};
    EXPECT_NE(message_of([&] { decode_row(bad[i], pool, StoredValues::q8, 500, ids, log_probs); }, &code), "") << i;
    EXPECT_EQ(code, ExitCode::malformed) << i;
  }
}

}  // namespace
}  // namespace prentice

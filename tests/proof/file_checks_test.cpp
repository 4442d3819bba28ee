#include "proof/file_checks.h"

#include <fstream>

#include "export/tiny.h"
#include "io/gguf.h"
#include "proof/logit_limits.h"
#include "quant/encode.h"

namespace prentice {
namespace {

// A file of matrices of zeros in these types, and of a vector in F32.
void write_file(const std::filesystem::path& path, const std::vector<GgmlType>& types,
                std::vector<GgufEntry> metadata) {
  metadata.push_back({"general.architecture", std::string("llama")});
  std::vector<GgufTensorInfo> tensors = {{"norm", GgmlType::F32, {256}}};
  for (const GgmlType type : types) tensors.push_back({"matrix" + std::to_string(tensors.size()), type, {256, 1}});
  GgufWriter writer(path, metadata, tensors);
  for (const auto& tensor : tensors) writer.write(tensor.name, std::vector<std::byte>(encoded_bytes(256, tensor.type)));
  writer.finish();
}

// A row of 256 in Q6_K is 210 bytes, which the writer fills up to 224 = 7 x 32.
TEST(EndOfFile, OnlyWhatFillsUpTheAlignmentMayStandThere) {
  const Scratch scratch;
  write_file(scratch / "it.gguf", {GgmlType::Q6_K}, {});
  const std::string whole = read_text_file(scratch / "it.gguf");
  const std::pair<std::string, std::string> cases[] = {
      {whole, "behind the last tensor"},
      {whole.substr(0, whole.size() - 14), "behind the last tensor"},
      {whole.substr(0, whole.size() - 1), "behind the last tensor"},
      {whole + "x", "15 bytes stand behind the last tensor"},
      {whole + std::string(1000, '\0'), "1014 bytes stand behind the last tensor"},
  };
  for (const auto& [text, told] : cases) {
    std::ofstream(scratch / "other.gguf", std::ios::trunc) << text;
    const Check check = end_check(scratch / "other.gguf");
    EXPECT_EQ(check.detail, told);
    EXPECT_EQ(check.passed, told == "behind the last tensor");
  }
}

// Numbers of llama.h's llama_ftype.
TEST(LimitedType, IsThatOfTheCoarsestMatrixAndOfTheMixOfItsBlocksThatTheFileSays) {
  constexpr uint32_t kSilent = 1000, kF16 = 1, kQ8 = 7, kQ3S = 11, kQ3M = 12, kQ3L = 13, kQ4S = 14, kQ4M = 15;
  const struct {
    std::vector<GgmlType> matrices;
    uint32_t said;
    std::string type;
  } cases[] = {
      {{}, kSilent, "F32"},
      {{GgmlType::F16}, kSilent, "F16"},
      {{GgmlType::Q8_0, GgmlType::Q6_K}, kQ8, "Q6_K"},
      {{GgmlType::Q6_K, GgmlType::Q4_K}, kSilent, "Q4_K_M"},
      {{GgmlType::Q6_K, GgmlType::Q4_K}, kQ4M, "Q4_K_M"},
      {{GgmlType::Q6_K, GgmlType::Q4_K}, kQ4S, "Q4_K_S"},
      {{GgmlType::Q6_K, GgmlType::Q4_K}, kF16, "Q4_K_M"},  // what is said is not so
      {{GgmlType::Q5_K, GgmlType::Q3_K}, kQ3S, "Q3_K_S"},
      {{GgmlType::Q5_K, GgmlType::Q3_K}, kQ3M, "Q3_K_M"},
      {{GgmlType::Q5_K, GgmlType::Q3_K}, kQ3L, "Q3_K_L"},
      {{GgmlType::Q5_K, GgmlType::Q3_K}, kQ4S, "Q3_K_M"},
  };
  const Scratch scratch;
  for (const auto& [matrices, said, type] : cases) {
    const auto path = scratch / (std::to_string(said) + "-" + type + std::to_string(matrices.size()));
    write_file(path, matrices,
               said == kSilent ? std::vector<GgufEntry>() : std::vector<GgufEntry>{{"general.file_type", said}});
    EXPECT_EQ(limited_type(GgufReader::open(path)), type) << said;
  }
}

TEST(LogitChecks, OneEndThatIsMissedMayBeByChance) {
  const LogitBound bound{.type = "Q8_0", .kld = 0.01, .top1 = 0.9};
  const std::tuple<int64_t, int64_t, bool> cases[] = {{0, 0, true},  {1, 1, true},  {1, 0, true},   {2, 1, true},
                                                      {2, 0, false}, {9, 7, false}, {30, 27, true}, {30, 26, false}};
  for (const auto& [ends, kept, passed] : cases) {
    const auto checks =
        logit_checks({.tokens = 100, .top1 = 1, .confidence = 0.9, .ends = ends, .ends_kept = kept}, bound);
    EXPECT_EQ(checks.back().passed, passed) << kept << " of " << ends;
    // Of a model whose likeliest id is one of many alike, nothing is asked.
    EXPECT_TRUE(logit_checks({.confidence = 0.01, .ends = ends, .ends_kept = kept}, bound).back().passed);
  }
}

}  // namespace
}  // namespace prentice

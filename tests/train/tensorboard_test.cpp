#include "train/tensorboard.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "io/file.h"
#include "io/json.h"
#include "train/toy.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return text;
}

// All event files of a folder, oldest first.
std::vector<fs::path> event_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(TensorBoard, Crc32cGivesTheValueOfRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(TensorBoard, RecordsAreTheTensorboardPackagesBytes) {
  const auto golden = Json::parse_file("tests/golden/train/tensorboard.json");
  for (const auto& wanted : golden.at("events").as_array()) {
    toy::TempDir dir;
    TensorBoard board(dir.path(), -1);
    board.flush();
    const auto head = fs::file_size(event_files(dir.path()).front());
    board.scalar(wanted.at("tag").as_string(), wanted.at("step").as_integer(), wanted.at("wall_time").as_number(),
                 wanted.at("value").as_number());
    board.flush();
    const auto bytes = read_text_file(event_files(dir.path()).front());
    EXPECT_EQ(hex(std::string_view(bytes).substr(head)), wanted.at("record").as_string());
  }
}

TEST(TensorBoard, PointsPastTheCheckpointAndTornEndsAreCut) {
  toy::TempDir dir;
  uint64_t kept = 0;
  {
    TensorBoard board(dir.path(), -1);
    for (int64_t step = 1; step <= 9; ++step) {
      board.scalar("train/loss", step, 1.0, 1.0);
      board.flush();
      if (step == 6) kept = fs::file_size(event_files(dir.path()).front());
    }
  }
  const auto file = event_files(dir.path()).front();
  fs::resize_file(file, fs::file_size(file) - 3);
  { TensorBoard again(dir.path(), 8); }
  EXPECT_GT(fs::file_size(file), kept);
  { TensorBoard again(dir.path(), 6); }
  EXPECT_EQ(fs::file_size(file), kept);
  { TensorBoard again(dir.path(), -1); }
  EXPECT_FALSE(fs::exists(file) && fs::file_size(file) > 0);
}

}  // namespace
}  // namespace prentice

#include "run/checkpoint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <random>
#include <set>

#include "core/error.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "process.h"
#include "run/manifest.h"
#include "train/toy.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

void train_toy(const TrainConfig& config, const Hooks& hooks = {}, toy::SourceOptions options = {}) {
  const toy::Network network;
  train(config, network.trainable(), toy::Source(options), network.objective(), hooks);
}

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

void overwrite(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

std::string events_of(const fs::path& out) { return read_text_file(out / "events.jsonl"); }

// The toy's run, done: checkpoints 24 and 28.
class Damage : public testing::Test {
 protected:
  void SetUp() override {
    config_ = toy::config_for(dir_ / "run");
    train_toy(config_);
    newest_ = checkpoint_folder(config_.out, 28);
    ASSERT_EQ(damage_of(newest_), "");
    ASSERT_EQ(files_of(newest_).size(), 7);
  }

  // Step that a resume would take, with the newest checkpoint as it is now.
  int64_t resumed_step() {
    EventLog events(config_.out);
    return Checkpoints(config_.out, events).newest()->step;
  }

  toy::TempDir dir_;
  TrainConfig config_;
  fs::path newest_;
};

TEST_F(Damage, EveryTruncationOfEveryFileIsFoundAndNamed) {
  std::mt19937 random(3);
  testing::internal::CaptureStderr();
  for (const auto& file : files_of(newest_)) {
    const auto whole = read_text_file(file);
    for (int trial = 0; trial < toy::trials(5, 20); ++trial) {
      overwrite(file, whole.substr(0, random() % whole.size()));
      EXPECT_NE(damage_of(newest_), "") << file;
      EXPECT_EQ(resumed_step(), 24) << file;
    }
    const auto event = events_of(config_.out);
    EXPECT_NE(event.rfind("skipped " + newest_.string() + ": " + file.filename().string()), std::string::npos) << file;
    fs::remove(file);
    EXPECT_EQ(resumed_step(), 24) << file;
    overwrite(file, whole);
  }
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(resumed_step(), 28);
}

TEST_F(Damage, EveryFlippedBitIsFound) {
  std::mt19937_64 random(4);
  const auto files = files_of(newest_);
  for (int trial = 0; trial < toy::trials(100, 1000); ++trial) {
    const auto& file = files[random() % files.size()];
    const int descriptor = ::open(file.c_str(), O_RDWR);
    const auto offset = static_cast<off_t>(random() % fs::file_size(file));
    char byte = 0;
    ASSERT_EQ(::pread(descriptor, &byte, 1, offset), 1);
    const char flipped = static_cast<char>(byte ^ (1 << random() % 8));
    ASSERT_EQ(::pwrite(descriptor, &flipped, 1, offset), 1);
    EXPECT_NE(damage_of(newest_), "") << file << " at " << offset;
    ASSERT_EQ(::pwrite(descriptor, &byte, 1, offset), 1);
    ::close(descriptor);
  }
  EXPECT_EQ(damage_of(newest_), "");
}

TEST_F(Damage, WithoutAnyUsableCheckpointNothingStartsAfresh) {
  testing::internal::CaptureStderr();
  for (const int64_t step : {24, 28}) fs::resize_file(checkpoint_folder(config_.out, step) / "trainer.json", 5);
  try {
    train_toy(config_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::model);
    const std::string what = error.what();
    EXPECT_NE(what.find("no checkpoint is usable: step-00000028: trainer.json: expected "), std::string::npos) << what;
    EXPECT_NE(what.find("; step-00000024: trainer.json: expected "), std::string::npos) << what;
  }
  testing::internal::GetCapturedStderr();
}

TEST_F(Damage, ABrokenCheckpointIsReplacedWhenItsStepIsReachedAgain) {
  const auto whole = read_text_file(newest_ / "trainable.safetensors");
  testing::internal::CaptureStderr();
  fs::resize_file(newest_ / "trainable.safetensors", 9);
  train_toy(config_);
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(damage_of(newest_), "");
  EXPECT_EQ(read_text_file(newest_ / "trainable.safetensors"), whole);
}

TEST(Checkpoint, HoldsTheFilesOfTheLayout) {
  toy::TempDir dir;
  const auto config = toy::config_for(dir / "run");
  train_toy(config);
  const auto folder = checkpoint_folder(config.out, 28);
  std::set<std::string> names;
  for (const auto& file : files_of(folder)) names.insert(file.filename().string());
  EXPECT_EQ(names, (std::set<std::string>{"data.json", "manifest.json", "optimizer-00000-of-00001.safetensors",
                                          "recipe.yaml", "trainable.safetensors", "trainer.json", "weights.json"}));
  EXPECT_EQ(read_text_file(folder / "recipe.yaml"), config.recipe);
  EXPECT_EQ(Json::parse_file(folder / "data.json").at("position").as_integer(), 28);
  const auto manifest = read_manifest(folder);
  for (const char* key :
       {"format", "step", "world_size", "threads", "config_sha256", "data_order_sha256", "binary_sha256"}) {
    EXPECT_NE(manifest.find(key), nullptr) << key;
  }
}

TEST(Checkpoint, WeightsThatTheRecipeStoredAlreadyAreNotStoredTwice) {
  toy::TempDir dir;
  const auto config = toy::config_for(dir / "run");
  toy::Network network;
  const Hooks hooks{.save_model = [&](const fs::path& folder) {
    const TensorInfo info{"base_model.model.layer.lora_A.weight", DType::f32, network.a.sizes().vec()};
    SafetensorsWriter writer(folder / "adapter_model.safetensors", {info});
    const auto host = network.a.detach().contiguous();
    writer.write(info.name, {static_cast<const std::byte*>(host.const_data_ptr()), static_cast<size_t>(host.nbytes())});
    writer.finish();
  }};
  train(config, network.trainable(), toy::Source(), network.objective(), hooks);
  const auto folder = checkpoint_folder(config.out, 28);
  EXPECT_EQ(SafetensorsFile::open(folder / "trainable.safetensors").tensors().size(), 2);
  toy::Network restored;
  train(config, restored.trainable(), toy::Source(), restored.objective(), {});
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(restored.trainable()[i].second.equal(network.trainable()[i].second));
}

TEST(Checkpoint, LastOnesAreKept) {
  toy::TempDir dir;
  for (const auto& [keep, steps] :
       std::map<int64_t, std::vector<int64_t>>{{1, {24, 28}}, {2, {24, 28}}, {4, {12, 18, 24, 28}}}) {
    auto config = toy::config_for(dir / std::to_string(keep));
    config.keep = keep;
    train_toy(config);
    EXPECT_EQ(checkpoint_steps(config.out), steps);
  }
}

TEST(Checkpoint, AResumeWithOtherValuesNamesThem) {
  toy::TempDir dir;
  auto config = toy::config_for(dir / "run");
  train_toy(config);
  auto changed = config;
  changed.recipe.replace(changed.recipe.find("0.02"), 4, "0.03");
  try {
    train_toy(changed, {}, {.seed = 18});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    const std::string what = error.what();
    EXPECT_NE(what.find("optim.lr: 0.02 (now 0.03); the training rows and their order: "), std::string::npos) << what;
  }
  const int threads = at::get_num_threads();
  const int code = toy::run_process([&] {
    at::set_num_threads(threads + 1);
    train_toy(config);
  });
  EXPECT_EQ(code, 2);
}

TEST(Checkpoint, AFullDiskIsExitFiveAndThePreviousCheckpointStays) {
  toy::TempDir dir;
  std::mt19937 random(5);
  for (int trial = 0; trial < toy::trials(6, 20); ++trial) {
    const auto config = toy::config_for(dir / std::to_string(trial));
    const rlim_t budget = 200 + random() % 4000;
    const int code = toy::run_process([&] {
      const rlimit limit{budget, budget};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      train_toy(config);
    });
    EXPECT_EQ(code, 5) << budget;
    for (const auto step : checkpoint_steps(config.out)) EXPECT_EQ(damage_of(checkpoint_folder(config.out, step)), "");
  }
}

// 3 MiB over an empty folder, as long as it lives.
struct SmallDisk {
  explicit SmallDisk(fs::path folder)
      : path(std::move(folder)), mounted(::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=3m") == 0) {}
  ~SmallDisk() {
    if (mounted) ::umount(path.c_str());
  }
  fs::path path;
  bool mounted;
};

TEST(Checkpoint, BytesMissingOnAFullDiskAreNamed) {
  toy::TempDir dir;
  const SmallDisk disk(dir.path());
  if (!disk.mounted) GTEST_SKIP() << "mounting needs root";
  const auto config = toy::config_for(dir / "run");
  std::string what;
  try {
    train_toy(config, {.before_step = [&](int64_t index) {
                if (index == 8) overwrite(dir / "filler", std::string(2 << 20, 'x'));
              }});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::storage);
    what = error.what();
  }
  EXPECT_NE(what.find("the checkpoint of step 12: "), std::string::npos) << what;
  EXPECT_NE(what.find("missing"), std::string::npos) << what;
  EXPECT_EQ(checkpoint_steps(config.out), (std::vector<int64_t>{0, 6}));
  fs::remove(dir / "filler");
  const int half_way = toy::run_process([&] {
    train_toy(config, {.save_model = [](const fs::path& folder) {
                OutputFile(folder / "big").write(std::string(8 << 20, 'x'));
              }});
  });
  EXPECT_EQ(half_way, 5);
  EXPECT_EQ(checkpoint_steps(config.out), (std::vector<int64_t>{0, 6}));
  train_toy(config);
  EXPECT_EQ(checkpoint_steps(config.out), (std::vector<int64_t>{24, 28}));
}

}  // namespace
}  // namespace prentice

#include "run/run_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "core/error.h"
#include "io/file.h"
#include "process.h"
#include "run/checkpoint.h"
#include "run/clock.h"
#include "temp_dir.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

RunDescription description_of(const fs::path& input, const std::string& lr = "0.1") {
  return {
      .kind = "sft",
      .command = "prentice run x.yaml",
      .device = "cpu",
      .recipe = "recipe: sft\nrun:\n  out: runs/x\ndata:\n  train: " + input.string() + "\noptim:\n  lr: " + lr + "\n",
      .inputs = {{"data.train", input}}};
}

// The message of the usage error that `body` throws.
std::string usage_error(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

class RunFolderTest : public testing::Test {
 protected:
  RunFolderTest() : out_(dir_ / "run"), input_(dir_ / "rows.jsonl") { write(input_, "{}\n"); }

  RunState run_to_the_end(const RunDescription& description) {
    RunFolder folder(out_, false);
    const auto state = folder.begin(description);
    if (state != RunState::finished) folder.finish({{"loss", 0.5}});
    return state;
  }
  Json run_json() { return Json::parse_file(out_ / "run.json"); }

  toy::TempDir dir_;
  fs::path out_, input_;
};

TEST_F(RunFolderTest, SecondProcessIsRefusedAtOnceAndToldWho) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t holder = toy::start_process([&] {
    RunFolder folder(out_, false);
    if (::write(ready[1], "x", 1) == 1) ::pause();
  });
  char byte;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const double begin = monotonic_seconds();
  const auto message = usage_error([&] { RunFolder folder(out_, false); });
  EXPECT_LT(monotonic_seconds() - begin, 1);
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  EXPECT_EQ(message, out_.string() + " is in use by process " + std::to_string(holder) + " on " + host);
  EXPECT_NE(usage_error([&] { RunFolder folder(out_, true); }), "");
  ::kill(holder, SIGKILL);
  toy::wait_for(holder);
  { const RunFolder folder(out_, false); }
  EXPECT_EQ(run_state(out_), RunState::fresh);
}

TEST_F(RunFolderTest, LivesFromFreshToFinished) {
  EXPECT_EQ(run_state(out_), RunState::fresh);
  EXPECT_EQ(run_to_the_end(description_of(input_)), RunState::fresh);
  EXPECT_EQ(run_state(out_), RunState::finished);
  const auto run = run_json();
  EXPECT_EQ(run.at("status").as_string(), "done");
  EXPECT_EQ(run.at("results").at("loss").as_number(), 0.5);
  EXPECT_EQ(run.at("inputs").as_array().at(0).at("sha256").as_string(),
            "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356");
  EXPECT_EQ(read_text_file(out_ / "recipe.yaml"), description_of(input_).recipe);
  EXPECT_EQ(run_to_the_end(description_of(input_)), RunState::finished);
  EXPECT_EQ(run_json(), run);
  const auto events = read_text_file(out_ / "events.jsonl");
  EXPECT_NE(events.find("\"event\": \"start\""), std::string::npos);
  EXPECT_NE(events.find("\"event\": \"end\", \"reason\": \"done\""), std::string::npos);
}

TEST_F(RunFolderTest, OtherRecipeOrInputsAreRefusedByName) {
  run_to_the_end(description_of(input_));
  EXPECT_EQ(usage_error([&] { run_to_the_end(description_of(input_, "0.2")); }),
            out_.string() + " was made with other values: optim.lr: 0.1 (now 0.2)");
  const auto moved = dir_ / "moved.jsonl";
  fs::copy_file(input_, moved);
  EXPECT_EQ(run_to_the_end(description_of(moved)), RunState::finished);
  write(input_, "{\"changed\": 1}\n");
  EXPECT_NE(usage_error([&] { run_to_the_end(description_of(input_)); }).find("other values: data.train: "),
            std::string::npos);
}

TEST_F(RunFolderTest, FreshMovesWhatIsThereAside) {
  run_to_the_end(description_of(input_));
  RunFolder folder(out_, true);
  EXPECT_EQ(folder.begin(description_of(input_, "0.2")), RunState::fresh);
  int aside = 0;
  for (const auto& entry : fs::directory_iterator(dir_.path())) {
    aside += entry.path().filename().string().starts_with("run.old-") && fs::exists(entry.path() / "run.json");
  }
  EXPECT_EQ(aside, 1);
}

TEST_F(RunFolderTest, StartFilesCountAsEmptyEvenUnderAnotherRecipe) {
  { RunFolder(out_, false).begin(description_of(input_)); }
  EXPECT_EQ(run_json().at("status").as_string(), "failed");
  write(out_ / "metrics.jsonl", "{\"step\": 0}\n");
  write(out_ / "checkpoints/.tmp-step-00000000-1/data.json", "{}");
  EXPECT_EQ(run_to_the_end(description_of(input_, "0.3")), RunState::fresh);
}

TEST_F(RunFolderTest, AnUnfinishedRunKeepsItsIdAndCountsItsSessions) {
  { RunFolder(out_, false).begin(description_of(input_)); }
  write(out_ / "checkpoints/step-00000000/manifest.json", "{}");
  const auto id = run_json().at("run_id").as_string();
  RunFolder folder(out_, false);
  EXPECT_EQ(folder.begin(description_of(input_)), RunState::unfinished);
  EXPECT_EQ(folder.run_id(), id);
  EXPECT_EQ(run_json().at("sessions").as_integer(), 2);
  EXPECT_EQ(run_json().at("status").as_string(), "running");
}

TEST_F(RunFolderTest, AFolderOfSomethingElseIsRefused) {
  write(out_ / "thesis.tex", "precious");
  EXPECT_EQ(usage_error([&] { RunFolder folder(out_, false); }),
            out_.string() + " is no run folder: it holds thesis.tex");
  { const RunFolder folder(out_, true); }
  EXPECT_EQ(run_state(out_), RunState::fresh);
  write(dir_ / "file", "x");
  EXPECT_NE(usage_error([&] { RunFolder folder(dir_ / "file", false); }).find("is a file"), std::string::npos);
}

TEST_F(RunFolderTest, HowOftenItSpeaksAndWhatItWasPlannedForMakeNoOtherRun) {
  auto description = description_of(input_);
  run_to_the_end(description);
  description.recipe += "run2: x\n";
  EXPECT_NE(usage_error([&] { run_to_the_end(description); }), "");
  description = description_of(input_);
  description.recipe.insert(description.recipe.find("data:"), "  log_every: 3\n");
  description.recipe += "plan:\n  hardware: h100-80gb\n";
  EXPECT_EQ(run_to_the_end(description), RunState::finished);
}

TEST_F(RunFolderTest, RunJsonHoldsTheProgramsVersion) {
  run_to_the_end(description_of(input_));
  const auto run = run_json();
  EXPECT_EQ(run.at("versions").at("prentice").as_string(), "0.1.0");
  EXPECT_EQ(run.at("versions").at("binary_sha256").as_string().size(), 64);
}

TEST_F(RunFolderTest, APipelineMovesAsideOnlyWhatItMade) {
  const auto step = [&](const std::string& lr, const fs::path& pipeline) {
    RunFolder folder(out_, false, IfDifferent::move_aside);
    auto description = description_of(input_, lr);
    description.pipeline = pipeline.string();
    const auto state = folder.begin(description);
    if (state != RunState::finished) folder.finish();
    return state;
  };
  const auto asides = [&] {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(dir_.path()))
      count += entry.path().filename().string().starts_with("run.old-");
    return count;
  };
  run_to_the_end(description_of(input_));
  EXPECT_EQ(step("0.1", dir_ / "pipe"), RunState::finished);  // unchanged: nothing to move
  EXPECT_NE(usage_error([&] { step("0.2", dir_ / "pipe"); }).find("optim.lr: 0.1 (now 0.2)"), std::string::npos);
  EXPECT_EQ(asides(), 0);
  EXPECT_EQ(step("0.2", dir_.path()), RunState::fresh);  // below the pipeline's own folder
  EXPECT_EQ(asides(), 1);
  fs::remove_all(out_);
  step("0.1", dir_ / "pipe");
  EXPECT_EQ(step("0.2", dir_ / "pipe"), RunState::fresh);  // made by it
  EXPECT_NE(usage_error([&] { step("0.3", dir_ / "other"); }), "");
}

TEST(RunFolder, WhereNothingCanBeCreatedIsSaidSo) {
  EXPECT_EQ(usage_error([] { RunFolder folder("/proc/prentice-test", false); }),
            "/proc/prentice-test: the run folder cannot be created here");
}

TEST_F(RunFolderTest, AStoppedRunSaysWhichSignal) {
  const int status = toy::run_process([&] {
    RunFolder folder(out_, false);
    folder.begin(description_of(input_));
    ::raise(SIGINT);
    throw_if_stopped();
  });
  EXPECT_EQ(status, 130);
  EXPECT_EQ(run_json().at("status").as_string(), "stopped");
  EXPECT_EQ(run_json().at("exit_reason").as_string(), "SIGINT");
}

TEST(RunLock, OnANetworkOnlyAFreshHeartbeatOfAnotherMachineCounts) {
  const LockHolder self{.host = "a", .boot_id = "1", .pid = 5};
  EXPECT_FALSE(held_elsewhere({}, self, 0));
  EXPECT_FALSE(held_elsewhere({.host = "a", .boot_id = "1", .pid = 7}, self, 0));
  EXPECT_TRUE(held_elsewhere({.host = "b", .boot_id = "2", .pid = 7}, self, 3));
  EXPECT_FALSE(held_elsewhere({.host = "b", .boot_id = "2", .pid = 7}, self, 300));
}

TEST(RunLock, HolderReadsBackAndTornTextIsNobody) {
  const auto text = to_text({.host = "node7", .boot_id = "ab-cd", .pid = 42, .since = 12.5});
  EXPECT_EQ(lock_holder_from(text).host, "node7");
  EXPECT_EQ(lock_holder_from(text).pid, 42);
  for (size_t size = 0; size < 10; ++size) EXPECT_EQ(lock_holder_from(text.substr(0, size)).host, "");
}

}  // namespace
}  // namespace prentice

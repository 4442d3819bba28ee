#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <random>
#include <sstream>

#include "io/file.h"
#include "io/json.h"
#include "io/publish.h"
#include "process.h"
#include "run/checkpoint.h"
#include "run/clock.h"
#include "run/manifest.h"
#include "run/run_folder.h"
#include "train/tensor_file.h"
#include "train/toy.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSteps = 28;
constexpr const char* kOptimizerFile = "optimizer-00000-of-00001.safetensors";

// Where a run meets its end, or does something else to itself.
using Incident = std::function<void(const std::string& place, int64_t count)>;

// The toy with everything that a recipe hangs on the loop, noise keyed by the step included.
void train_toy(const fs::path& out, const Incident& incident, int64_t noise_offset = 0) {
  const toy::Network network;
  auto config = toy::config_for(out);
  config.select = Select::eval_loss;
  config.eval_every = 4;
  int64_t step = 0, saves = 0, evaluations = 0;
  const Hooks hooks{.save_model = [&](const fs::path&) { incident("save", saves++); },
                    .evaluate =
                        [&] {
                          incident("evaluate", evaluations++);
                          const at::NoGradGuard no_grad;
                          const auto all = toy::Source({.batch = 64, .micro = 64}).step(0);
                          const double loss = network.share(all.micros[0], all.counts).item<double>();
                          return std::map<std::string, double>{{"eval.loss", loss}};
                        },
                    .before_step =
                        [&](int64_t index) {
                          incident("step", index);
                          step = index + noise_offset;
                        }};
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics&) {
    return network.share(batch, counts).mul(1 + 0.1 * std::sin(static_cast<double>(step)));
  };
  train(config, network.trainable(), toy::Source(), objective, hooks);
}

int run_toy(
    const fs::path& out, const Incident& incident = [](auto&&...) {}, int64_t noise_offset = 0) {
  return toy::run_process([&] { train_toy(out, incident, noise_offset); });
}

// Everything that must not depend on how often the run was killed: the files of the last checkpoint, and of each metric
// line the parts that are no measurement.
std::map<std::string, std::string> outcome(const fs::path& out) {
  std::map<std::string, std::string> parts;
  for (const char* file : {"weights.json", "trainable.safetensors", kOptimizerFile, "data.json", "trainer.json"}) {
    parts[file] = read_text_file(checkpoint_folder(out, kSteps) / file);
  }
  std::istringstream text(read_text_file(out / "metrics.jsonl"));
  for (std::string line; std::getline(text, line);) {
    const auto json = Json::parse(line);
    for (const char* key : {"step", "epoch", "tokens", "loss", "lr", "grad_norm", "state", "eval.loss"}) {
      if (const auto* value = json.find(key)) parts["metrics"] += key + value->dump() + " ";
    }
    parts["metrics"] += '\n';
  }
  return parts;
}

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    const double begin = monotonic_seconds();
    ASSERT_EQ(run_toy(dir_ / "whole"), 0);
    seconds_ = monotonic_seconds() - begin;
    whole_ = outcome(dir_ / "whole");
  }
  void expect_whole(const fs::path& out, const std::string& how) {
    const auto parts = outcome(out);
    for (const auto& [name, bytes] : whole_) EXPECT_TRUE(parts.at(name) == bytes) << name << " differs: " << how;
  }

  toy::TempDir dir_;
  double seconds_ = 0;  // that an undisturbed run takes
  std::map<std::string, std::string> whole_;
};

TEST_F(Resume, KilledAnywhereEndsAsIfNeverStopped) {
  std::mt19937 random(6);
  for (int trial = 0; trial < toy::trials(5, 30); ++trial) {
    const auto out = dir_ / std::to_string(trial);
    std::string how;
    for (int kill = 0; kill < 3; ++kill) {
      const std::string place = std::vector<std::string>{"save", "step", "evaluate"}[random() % 3];
      const auto count = static_cast<int64_t>(random() % (place == "step" ? kSteps : 4));
      how += place + " " + std::to_string(count) + ", ";
      run_toy(out, [&](const std::string& at, int64_t n) {
        if (at == place && n == count) ::kill(::getpid(), SIGKILL);
      });
    }
    ASSERT_EQ(run_toy(out), 0) << how;
    expect_whole(out, how);
  }
}

TEST_F(Resume, KilledAtAnyInstantEndsAsIfNeverStopped) {
  std::mt19937 random(7);
  for (int trial = 0; trial < toy::trials(3, 20); ++trial) {
    const auto out = dir_ / std::to_string(trial);
    for (int kill = 0; kill < 3; ++kill) {
      const pid_t child = toy::start_process([&] { train_toy(out, [](auto&&...) {}); });
      ::usleep(static_cast<useconds_t>(1e4 * seconds_ * static_cast<double>(random() % 100)));
      ::kill(child, SIGKILL);
      toy::wait_for(child);
    }
    ASSERT_EQ(run_toy(out), 0);
    expect_whole(out, "timed kill " + std::to_string(trial));
  }
}

TEST_F(Resume, SignalsSaveWithinAStepAndEndWithTheirStatus) {
  std::mt19937 random(8);
  for (const auto& [signal, status] : std::vector<std::pair<int, int>>{{SIGTERM, 143}, {SIGINT, 130}, {SIGUSR1, 143}}) {
    for (int trial = 0; trial < toy::trials(2, 20); ++trial) {
      const auto out = dir_ / (std::to_string(signal) + "-" + std::to_string(trial));
      const auto step = static_cast<int64_t>(random() % (kSteps - 1));
      const int got = run_toy(out, [&](const std::string& at, int64_t n) {
        if (at == "step" && n == step) ::raise(signal);
      });
      EXPECT_EQ(got, status);
      EXPECT_EQ(checkpoint_steps(out).back(), step + 1);
      ASSERT_EQ(run_toy(out), 0);
      expect_whole(out, "signal at step " + std::to_string(step));
    }
  }
}

TEST_F(Resume, ASignalDuringEvaluationLosesNoEvaluation) {
  for (const int64_t evaluation : {0, 1, 4, 7}) {
    const auto out = dir_ / std::to_string(evaluation);
    const int got = run_toy(out, [&](const std::string& at, int64_t n) {
      if (at == "evaluate" && n == evaluation) ::raise(SIGTERM);
    });
    EXPECT_EQ(got, 143);
    ASSERT_EQ(run_toy(out), 0);
    expect_whole(out, "signal in evaluation " + std::to_string(evaluation));
  }
}

TEST_F(Resume, ASecondSignalLeavesAtOnceWithTheOldCheckpoint) {
  const auto out = dir_ / "twice";
  const int got = run_toy(out, [&](const std::string& at, int64_t n) {
    if (at == "step" && n == 9) ::raise(SIGTERM), ::raise(SIGINT);
  });
  EXPECT_EQ(got, 130);
  EXPECT_LT(checkpoint_steps(out).back(), 10);
  ASSERT_EQ(run_toy(out), 0);
  expect_whole(out, "two signals");
}

TEST_F(Resume, AsFirstProcessOfAContainerTheStatusIsTheSame) {
  const int status = toy::run_process([&] {
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(77);
    const int inner = run_toy(dir_ / "container", [&](const std::string& at, int64_t n) {
      if (at == "step" && n == 9) ::raise(SIGTERM);
    });
    ::_exit(inner);
  });
  if (status == 77) GTEST_SKIP() << "a process namespace needs root";
  EXPECT_EQ(status, 143);
  EXPECT_EQ(checkpoint_steps(dir_ / "container").back(), 10);
}

// Control: the comparison above must fail when a resume is planted with a known fault. `plant` changes the optimizer's
// file of the checkpoint that the run continues from.
void stop_and_plant(const fs::path& out, const std::function<void(const std::string& name, Tensor& tensor)>& plant) {
  run_toy(out, [&](const std::string& at, int64_t n) {
    if (at == "step" && n == 13) ::raise(SIGTERM);
  });
  const auto folder = checkpoint_folder(out, 14);
  NamedTensors tensors;
  {
    const auto file = SafetensorsFile::open(folder / kOptimizerFile);
    for (const auto& view : file.tensors()) {
      tensors.emplace_back(view.name, at::zeros(view.shape, at::kFloat));
      fill_tensor(tensors.back().second, view);
    }
  }
  for (auto& [name, tensor] : tensors) plant(name, tensor);
  fs::remove(folder / kOptimizerFile);
  write_tensors(folder / kOptimizerFile, tensors);
  Json::Object facts;
  const auto manifest = read_manifest(folder);
  for (const auto& [name, value] : manifest.as_object()) {
    if (name != "format" && name != "files" && name != "manifest_sha256") facts.emplace_back(name, value);
  }
  fs::remove(folder / "manifest.json");
  write_manifest(folder, facts);
}

TEST_F(Resume, ControlFaultsAreSeen) {
  const std::map<std::string, std::function<void(const std::string&, Tensor&)>> faults = {
      {"nothing", [](const std::string&, Tensor&) {}},
      {"layer.bias.exp_avg",
       [](const std::string& name, Tensor& tensor) {
         if (name == "layer.bias.exp_avg") tensor.zero_();
       }},
      {"step",
       [](const std::string& name, Tensor& tensor) {
         if (name == "step") tensor.zero_();
       }},
  };
  for (const auto& [fault, plant] : faults) {
    const auto out = dir_ / fault;
    stop_and_plant(out, plant);
    ASSERT_EQ(run_toy(out), 0);
    EXPECT_EQ(outcome(out) == whole_, fault == "nothing") << fault;
  }
  const auto out = dir_ / "noise";
  stop_and_plant(out, [](const std::string&, Tensor&) {});
  ASSERT_EQ(run_toy(
                out, [](auto&&...) {}, /*noise_offset=*/-14),
            0);
  EXPECT_NE(outcome(out), whole_);
}

TEST(ResumedRun, FindsAnInputThatMovedBetweenTwoSessions) {
  const toy::TempDir dir;
  const fs::path out = dir / "run", input = dir / "rows.jsonl", moved = dir / "moved.jsonl";
  publish_file(input, "{}\n");
  const auto train_until = [&](const fs::path& path, int64_t failing_step) {
    auto config = toy::config_for(out);
    config.recipe = fmt::format("recipe: sft\nrun:\n  out: {}\ndata:\n  train: {}\n", out.string(), path.string());
    RunFolder folder(out, false);
    folder.begin({.kind = "sft", .recipe = config.recipe, .inputs = {{"data.train", path}}});
    config.inputs = folder.inputs();
    const toy::Network network;
    const Hooks hooks{.before_step = [&](int64_t index) {
      if (index == failing_step) fail(ExitCode::internal, "planted");
    }};
    train(config, network.trainable(), toy::Source(), network.objective(), hooks);
    folder.finish();
  };
  EXPECT_THROW(train_until(input, 9), Error);
  fs::rename(input, moved);
  train_until(moved, -1);
  EXPECT_EQ(Json::parse_file(out / "run.json").at("status").as_string(), "done");
  const auto manifest = Json::parse_file(checkpoint_folder(out, kSteps) / "manifest.json");
  EXPECT_EQ(manifest.at("inputs").as_array().at(0).at("path").as_string(), moved.string());
}

}  // namespace
}  // namespace prentice

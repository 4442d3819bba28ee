#include "train/loop.h"

#include <fstream>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "train/toy.h"
#include "train/checkpoint.h"

namespace prentice {
namespace {

TEST(Loop, LearnsAndLeavesLinesForEveryStep) {
  toy::TempDir dir;
  const toy::Network network;
  const auto config = toy::config_for(dir / "run");
  const auto result = train(config, network.trainable(), toy::Source(), network.objective(), {});
  EXPECT_EQ(result.steps, 28);
  std::cerr << read_text_file(config.out / "metrics.jsonl");
  std::cerr << read_text_file(config.out / "events.jsonl");
}

}  // namespace
}  // namespace prentice

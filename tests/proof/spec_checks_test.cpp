#include "proof/spec_checks.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "export/tiny.h"

namespace prentice {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNan = std::numeric_limits<double>::quiet_NaN();

// The one check that failed: "NAME: DETAIL"; "" where none did.
std::string failed_of(const std::vector<Check>& checks) {
  std::string failed;
  for (const Check& check : checks) {
    if (!check.passed) failed += check.name + ": " + check.detail;
  }
  return failed;
}

TEST(SpecChecks, NameTheGroupAndTheFirstDifference) {
  using Change = std::function<void(ModelSpec&)>;
  const std::pair<Change, std::string> cases[] = {
      {[](ModelSpec&) {}, ""},
      {[](ModelSpec& s) { s.hidden = 49; }, "sizes: hidden width: expected 48, got 49"},
      {[](ModelSpec& s) { s.kv_heads = 6, s.head_dim = 9; }, "sizes: key/value heads: expected 3, got 6"},
      {[](ModelSpec& s) { s.norm_eps *= 1 + 5e-6; }, ""},  // written as f32
      {[](ModelSpec& s) { s.norm_eps = 2e-5; }, "norms: epsilon: expected 1e-05, got 2e-05"},
      {[](ModelSpec& s) { s.norm_eps = kInfinity; }, "norms: epsilon: expected 1e-05, got inf"},
      {[](ModelSpec& s) { s.norm_eps = -kInfinity; }, "norms: epsilon: expected 1e-05, got -inf"},
      {[](ModelSpec& s) { s.norm_eps = kNan; }, "norms: epsilon: expected 1e-05, got nan"},
      {[](ModelSpec& s) { s.final_softcap = 30; }, "attention and MLP: soft cap of logits: expected 0, got 30"},
      {[](ModelSpec& s) { s.final_softcap = kNan; }, "attention and MLP: soft cap of logits: expected 0, got nan"},
      {[](ModelSpec& s) { s.embed_scale = kInfinity; },
       "attention and MLP: scale of the embedding: expected 1, got inf"},
      {[](ModelSpec& s) { s.gated_mlp = false; }, "attention and MLP: gate in the MLP: expected true, got false"},
      {[](ModelSpec& s) { s.ropes[0].theta = 20000; }, "rotation: layer 0, base: expected 10000, got 20000"},
      {[](ModelSpec& s) { s.layer[1].window = 8; }, "windows: layer 1: expected 0, got 8"},
      {[](ModelSpec& s) { s.max_positions = 128; }, "context: positions: expected 64, got 128"},
  };
  const ModelSpec own = read_spec(tiny_config());
  for (const auto& [change, wanted] : cases) {
    ModelSpec other = own;
    change(other);
    EXPECT_EQ(failed_of(spec_checks(own, other, false)), wanted);
    EXPECT_EQ(failed_of(spec_checks(other, own, false)).empty(), wanted.empty()) << wanted;
  }
}

TEST(SpecChecks, StopTokensOfAFileAreSomeOfTheModels) {
  using Ids = std::vector<int32_t>;
  const struct {
    Ids wanted, found;
    bool passed;
  } cases[] = {{{}, {}, true},       {{2, 3}, {2, 3}, true}, {{2, 3}, {3}, true}, {{2, 3}, {}, false},
               {{2}, {2, 4}, false}, {{2}, {4}, false},      {{}, {4}, false}};
  for (const auto& [wanted, found, passed] : cases) EXPECT_EQ(stops_check(wanted, found).passed, passed);
}

TEST(SpecChecks, AKeyThatNobodyAskedForIsNamed) {
  const Scratch scratch;
  const auto found_in = [&](const char* key, bool asked) {
    const auto path = scratch / (std::string(key) + (asked ? "-asked" : ""));
    GgufWriter(path, {{"general.architecture", std::string("llama")}, {key, uint32_t{1}}}, {}).finish();
    const auto file = GgufReader::open(path);
    if (asked) file.find(key);
    return failed_of({unread_check(file, "llama")});
  };
  EXPECT_EQ(found_in("llama.expert_count", false), "keys: llama.expert_count");
  EXPECT_EQ(found_in("llama.expert_count", true), "");
  EXPECT_EQ(found_in("llama.vocab_size", false), "");  // read for a report
  EXPECT_EQ(found_in("general.expert_count", false), "");
}

}  // namespace
}  // namespace prentice

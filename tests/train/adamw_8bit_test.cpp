// 8-bit AdamW against bitsandbytes (tests/golden/train/adamw_8bit.json, made by scripts/golden/adamw_8bit.py).
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "io/json.h"
#include "io/sha256.h"
#include "train/optimizer.h"

namespace prentice {
namespace {

const Tensor kMove = at::zeros({}, at::kFloat);

const Json& golden() {
  static const Json json = Json::parse_file("tests/golden/train/adamw_8bit.json");
  return json;
}

// numbers() of the script.
Tensor numbers(at::IntArrayRef shape, uint64_t step) {
  Tensor values = at::empty(shape, at::kFloat);
  float* value = values.mutable_data_ptr<float>();
  for (int64_t k = 0; k < values.numel(); ++k) {
    auto mixed = static_cast<uint32_t>((static_cast<uint64_t>(k) + 1) * 2654435761 + (step + 1) * 2246822519);
    mixed = (mixed ^ mixed >> 15) * uint32_t{2246822519};
    mixed ^= mixed >> 13;
    const auto fraction = static_cast<float>(static_cast<int32_t>(mixed >> 8) - (1 << 23)) / float{1 << 23};
    value[k] = step > 0 && k / 256 % 12 == 5 ? 0 : std::ldexp(fraction, -static_cast<int>(mixed % 12));
  }
  return values;
}

NamedTensors weights() {
  NamedTensors made;
  for (const auto& [name, shape] : golden().at("shapes").as_object()) {
    std::vector<int64_t> sizes;
    for (const auto& size : shape.as_array()) sizes.push_back(size.as_integer());
    made.emplace_back(name, numbers(sizes, 0));
  }
  return made;
}

std::vector<Tensor> gradients(const NamedTensors& of, uint64_t step) {
  std::vector<Tensor> made;
  for (const auto& [name, weight] : of) made.push_back(numbers(weight.sizes(), step).mul(0.25));
  return made;
}

std::string sha256(const Tensor& tensor) {
  Sha256 hash;
  hash.update(std::string_view(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()));
  return hash.hex();
}

OptimizerOptions options_of(const Json& wanted) {
  return {.name = OptimizerName::adamw8bit,
          .beta1 = wanted.at("betas").as_array()[0].as_number(),
          .beta2 = wanted.at("betas").as_array()[1].as_number(),
          .eps = wanted.at("eps").as_number(),
          .weight_decay = wanted.at("weight_decay").as_number(),
          .lr_ratio = wanted.at("lr_ratio").as_number(),
          .lr = wanted.at("lr").as_number()};
}

std::map<std::string, Tensor> by_name(const NamedTensors& tensors) { return {tensors.begin(), tensors.end()}; }

TEST(Adamw8Bit, StatesAndWeightsAreThoseOfBitsandbytesByteForByte) {
  for (const auto& wanted : golden().at("cases").as_array()) {
    const NamedTensors trained = weights();
    Optimizer optimizer(options_of(wanted), trained);
    const auto& steps = wanted.at("steps").as_array();
    ASSERT_EQ(steps.size(), 20u);
    for (size_t i = 0; i < steps.size(); ++i) {
      optimizer.step(wanted.at("lr").as_number() * (0.5 + static_cast<double>(i) / 20), gradients(trained, i + 1),
                     kMove);
      const auto states = by_name(optimizer.state()), now = by_name(trained);
      EXPECT_EQ(steps[i].as_object().size(), 3u);
      for (const auto& [name, hashes] : steps[i].as_object()) {
        size_t next = 0;
        for (const char* part : {".state1", ".absmax1", ".state2", ".absmax2"}) {
          ASSERT_EQ(sha256(states.at(name + part)), hashes.as_array()[next++].as_string())
              << name << part << " after step " << i + 1;
        }
        ASSERT_EQ(sha256(now.at(name)), hashes.as_array()[next].as_string()) << name << " after step " << i + 1;
      }
    }
    for (const auto& [name, values] : wanted.at("every_seventh_of_f32").as_object()) {
      const Tensor flat = by_name(trained).at(name).flatten();
      size_t next = 0;
      for (const auto& value : values.as_array()) {
        const auto got = static_cast<double>(flat[static_cast<int64_t>(7 * next++)].item<float>());
        ASSERT_NEAR(got, value.as_number(), 2e-7 * std::max(1.0, std::fabs(got))) << name;
      }
      EXPECT_EQ(static_cast<int64_t>(next), (flat.numel() + 6) / 7);
    }
  }
}

TEST(Adamw8Bit, TensorsOfFewerThan4096ElementsKeepTheirMomentsInF32) {
  const NamedTensors trained = {{"large", at::zeros({64, 64})}, {"small", at::zeros({4095})}};
  const auto states = by_name(Optimizer({.name = OptimizerName::adamw8bit}, trained).state());
  EXPECT_EQ(states.size(), 7u);
  EXPECT_EQ(states.at("small.exp_avg").scalar_type(), at::kFloat);
  EXPECT_EQ(states.at("large.state1").scalar_type(), at::kByte);
  EXPECT_EQ(states.at("large.state1").sizes(), (at::IntArrayRef{64, 64}));
  EXPECT_EQ(states.at("large.absmax2").sizes(), at::IntArrayRef{16});
}

// A block that is not full is measured to its last element.
TEST(Adamw8Bit, TheLastElementCounts) {
  const NamedTensors trained = {{"w", at::zeros({4096 + 3})}};
  Optimizer optimizer({.name = OptimizerName::adamw8bit, .beta1 = 0.75}, trained);
  const Tensor gradient = at::zeros({4096 + 3});
  gradient[-1] = 2;
  optimizer.step(0.1, {gradient}, kMove);
  const Tensor largest = by_name(optimizer.state()).at("w.absmax1");
  EXPECT_EQ(largest.size(0), 17);
  EXPECT_FLOAT_EQ(largest[16].item<float>(), 0.25F * 2);
}

TEST(Adamw8Bit, ASkippedStepChangesNothing) {
  const NamedTensors trained = weights();
  Optimizer optimizer({.name = OptimizerName::adamw8bit, .weight_decay = 0.1}, trained);
  optimizer.step(0.1, gradients(trained, 1), kMove);
  std::vector<Tensor> before;
  for (const auto& all : {trained, optimizer.state()}) {
    for (const auto& [name, tensor] : all) before.push_back(tensor.clone());
  }
  for (const double bad : {1.0, double(NAN), double(INFINITY)}) {
    std::vector<Tensor> broken;
    for (const auto& [name, weight] : trained) broken.push_back(at::full(weight.sizes(), bad, at::kFloat));
    optimizer.step(0.1, broken, at::full({}, 1, at::kFloat));
  }
  size_t next = 0;
  for (const auto& all : {trained, optimizer.state()}) {
    for (const auto& [name, tensor] : all) EXPECT_TRUE(at::equal(tensor, before[next++])) << name;
  }
}

TEST(Adamw8Bit, StateWrittenIntoAnotherOneContinuesTheSame) {
  const NamedTensors trained = weights();
  Optimizer optimizer({.name = OptimizerName::adamw8bit}, trained);
  for (uint64_t step = 1; step <= 5; ++step) optimizer.step(0.01, gradients(trained, step), kMove);
  NamedTensors copies;
  for (const auto& [name, tensor] : trained) copies.emplace_back(name, tensor.clone());
  Optimizer restored({.name = OptimizerName::adamw8bit}, copies);
  const auto from = optimizer.state(), to = restored.state();
  ASSERT_EQ(from.size(), to.size());
  for (size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].first, to[i].first);
    to[i].second.copy_(from[i].second);
  }
  optimizer.step(0.01, gradients(trained, 6), kMove);
  restored.step(0.01, gradients(copies, 6), kMove);
  for (size_t i = 0; i < trained.size(); ++i) EXPECT_TRUE(at::equal(trained[i].second, copies[i].second));
  for (size_t i = 0; i < from.size(); ++i) EXPECT_TRUE(at::equal(from[i].second, to[i].second)) << from[i].first;
}

TEST(Adamw8Bit, WhoeverKeptAWeightSeesThatItMoved) {
  const NamedTensors trained = {{"large", at::zeros({64, 64})}};
  Optimizer optimizer({.name = OptimizerName::adamw8bit}, trained);
  const auto before = trained[0].second._version();
  optimizer.step(0.01, gradients(trained, 1), kMove);
  EXPECT_GT(trained[0].second._version(), before);
}

TEST(Adamw8Bit, MovesWeightsOfEveryFloatingType) {
  const Tensor start = numbers({300, 20}, 0), gradient = numbers({300, 20}, 1);
  const auto moved = [&](at::ScalarType type, const Tensor& from, const Tensor& by) {
    const NamedTensors trained = {{"w", from.to(type).clone()}};
    Optimizer optimizer({.name = OptimizerName::adamw8bit}, trained);
    for (int i = 0; i < 3; ++i) optimizer.step(0.01, {by.to(type).clone()}, kMove);
    return trained[0].second.to(at::kDouble);
  };
  const Tensor single = moved(at::kFloat, start, gradient);
  EXPECT_LT((moved(at::kDouble, start, gradient) - single).abs().max().item<double>(), 2e-7);
  for (const auto type : {at::kBFloat16, at::kHalf}) {  // rounded once a step: within half a unit in the last place
    const Tensor from = start.to(type).to(at::kFloat), by = gradient.to(type).to(at::kFloat);
    Tensor one = from.clone();
    {
      const NamedTensors trained = {{"w", one}};
      Optimizer({.name = OptimizerName::adamw8bit}, trained).step(0.01, {by.clone()}, kMove);
    }
    const NamedTensors half = {{"w", from.to(type)}};
    Optimizer({.name = OptimizerName::adamw8bit}, half).step(0.01, {by.to(type)}, kMove);
    EXPECT_TRUE(at::equal(half[0].second, one.to(type)));
  }
}

// On the CPU the copies are made at once; pages, and what goes where, are those of a device.
TEST(OffloadedStates, GiveTheSameBits) {
  for (const auto name : {OptimizerName::adamw, OptimizerName::adamw8bit, OptimizerName::lion, OptimizerName::sgd}) {
    NamedTensors plain = weights();
    plain.emplace_back("other.lora_A.weight", numbers({20, 300}, 0));
    NamedTensors paged;
    for (const auto& [key, tensor] : plain) paged.emplace_back(key, tensor.clone());
    Optimizer here({.name = name, .weight_decay = 0.1, .lr_ratio = 4}, plain);
    Optimizer there({.name = name, .weight_decay = 0.1, .lr_ratio = 4, .offload = true, .page_bytes = 1}, paged);
    for (uint64_t step = 1; step <= 3; ++step) {
      here.step(0.01, gradients(plain, step), kMove);
      there.step(0.01, gradients(paged, step), kMove);
    }
    for (size_t i = 0; i < plain.size(); ++i) {
      EXPECT_TRUE(at::equal(plain[i].second, paged[i].second)) << plain[i].first;
    }
    const auto of_here = here.state(), of_there = there.state();
    ASSERT_EQ(of_here.size(), of_there.size());
    for (size_t i = 0; i < of_here.size(); ++i) {
      EXPECT_EQ(of_here[i].first, of_there[i].first);
      EXPECT_TRUE(at::equal(of_here[i].second, of_there[i].second)) << of_here[i].first;
    }
  }
}

}  // namespace
}  // namespace prentice

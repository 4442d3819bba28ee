#include "train/optimizer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/lerp.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "io/json.h"
#include "train/clip.h"

namespace prentice {
namespace {

const Json& golden() {
  static const Json json = Json::parse_file("tests/golden/train/optimizer.json");
  return json;
}

NamedTensors tensors_of(const Json& flat) {
  NamedTensors tensors;
  for (const auto& [name, shape] : golden().at("shapes").as_object()) {
    std::vector<float> values;
    for (const auto& value : flat.at(name).as_array()) values.push_back(static_cast<float>(value.as_number()));
    std::vector<int64_t> sizes;
    for (const auto& size : shape.as_array()) sizes.push_back(size.as_integer());
    tensors.emplace_back(name, at::tensor(values).reshape(sizes));
  }
  return tensors;
}

OptimizerOptions options_of(const Json& wanted) {
  const auto& name = wanted.at("name").as_string();
  return {.name = name == "adamw"  ? OptimizerName::adamw
                  : name == "lion" ? OptimizerName::lion
                                   : OptimizerName::sgd,
          .beta1 = wanted.at("betas").as_array()[0].as_number(),
          .beta2 = wanted.at("betas").as_array()[1].as_number(),
          .eps = wanted.at("eps").as_number(),
          .weight_decay = wanted.at("weight_decay").as_number(),
          .lr_ratio = wanted.at("lr_ratio").as_number(),
          .lr = wanted.at("lr").as_number()};
}

TEST(Optimizer, TwentyClippedStepsEqualTorch) {
  for (const auto& wanted : golden().at("cases").as_array()) {
    const auto weights = tensors_of(golden().at("weights"));
    Optimizer optimizer(options_of(wanted), weights);
    const auto& steps = golden().at("gradients").as_array();
    const Tensor skip = at::zeros({}, at::kFloat);
    for (size_t i = 0; i < steps.size(); ++i) {
      std::vector<Tensor> gradients;
      for (const auto& [name, gradient] : tensors_of(steps[i])) gradients.push_back(gradient);
      const Tensor norm = global_norm(gradients);
      EXPECT_NEAR(norm.item<double>(), wanted.at("norms").as_array()[i].as_number(), 1e-6 * norm.item<double>());
      clip_by_norm(gradients, norm, 1.0);
      optimizer.step(wanted.at("lr").as_number() * (0.5 + static_cast<double>(i) / 20), gradients, skip);
    }
    for (const auto& [name, expected] : tensors_of(wanted.at("weights"))) {
      for (const auto& [got_name, got] : weights) {
        if (got_name != name) continue;
        const double error = got.sub(expected).norm().item<double>() / expected.norm().item<double>();
        EXPECT_LT(error, 5e-7) << wanted.at("name").as_string() << " " << name;
      }
    }
  }
}

// The formula as the paper has it, a tensor at a time: which are moved together may not show in a bit. One tensor is
// larger than what is taken at once, and the first two together are.
TEST(Optimizer, LionMovesTensorsOfAnySizeToTheSameBits) {
  const double lr = 0.01, decay = 0.1, beta1 = 0.9, beta2 = 0.99;
  const int64_t most = kLionBytes / static_cast<int64_t>(sizeof(float));
  NamedTensors weights;
  std::vector<Tensor> expected, moments;
  for (const int64_t size : {most / 2 + 1, most / 2, int64_t{7}, most + 8}) {
    const Tensor values = at::linspace(-1, 1, size).sin().reshape({1, size});
    weights.emplace_back(std::to_string(size), values.clone());
    expected.push_back(values.clone()), moments.push_back(at::zeros_like(values));
  }
  EXPECT_EQ(most_beside(OptimizerName::lion, weights), kLionBytes + 32);
  EXPECT_EQ(most_beside(OptimizerName::sgd, weights), 0);
  Optimizer optimizer({.name = OptimizerName::lion, .beta1 = beta1, .beta2 = beta2, .weight_decay = decay}, weights);
  for (int step = 1; step < 4; ++step) {
    std::vector<Tensor> gradients;
    for (size_t i = 0; i < expected.size(); ++i) {
      const Tensor gradient = expected[i].mul(40 * step).cos();
      gradients.push_back(gradient.clone());
      const Tensor direction = at::lerp(moments[i], gradient, 1 - beta1).sign();
      expected[i].mul_(at::full({}, 1 - lr * decay, at::kDouble).to(at::kFloat));
      expected[i].add_(direction.mul(at::full({}, -lr, at::kFloat)));
      moments[i].add_(gradient.sub(moments[i]).mul(at::full({}, 1 - beta2, at::kFloat)));
    }
    optimizer.step(lr, gradients, at::zeros({}, at::kFloat));
  }
  const NamedTensors states = optimizer.state();
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(weights[i].second.equal(expected[i])) << i;
    EXPECT_TRUE(states[i + 1].second.equal(moments[i])) << i;
  }
}

// torch.nn.utils.clip_grad_norm_: times max_norm / (norm + 1e-6), where that is below 1.
TEST(Clip, ScalesByTheWantedNormAndOneMillionth) {
  const auto clipped = [](double first, double second, double most) {
    std::vector<Tensor> gradients = {at::full({1}, first, at::kDouble), at::full({1}, second, at::kDouble)};
    clip_by_norm(gradients, global_norm(gradients), most);
    return std::pair(gradients[0].item<double>(), gradients[1].item<double>());
  };
  EXPECT_NEAR(clipped(3, 4, 0.5).first, 3 * 0.5 / 5.000001, 1e-12);
  EXPECT_NEAR(clipped(3e-7, 4e-7, 1e-7).second, 4e-7 * 1e-7 / 1.5e-6, 1e-15);
  EXPECT_EQ(clipped(3, 4, 6), std::pair(3.0, 4.0));
}

TEST(Optimizer, SkippedStepsWithBadGradientsChangeNothing) {
  for (const auto name : {OptimizerName::adamw, OptimizerName::lion, OptimizerName::sgd}) {
    const auto weights = tensors_of(golden().at("weights"));
    Optimizer optimizer({.name = name, .weight_decay = 0.1}, weights);
    const auto step = [&](double value, float skip) {
      std::vector<Tensor> gradients;
      for (const auto& [key, tensor] : weights) gradients.push_back(at::full(tensor.sizes(), value, at::kFloat));
      optimizer.step(0.1, gradients, at::full({}, skip, at::kFloat));
    };
    step(0.5, 0);
    std::vector<Tensor> before;
    for (const auto& [key, tensor] : weights) before.push_back(tensor.clone());
    for (const auto& [key, tensor] : optimizer.state()) before.push_back(tensor.clone());
    for (const double bad : {1.0, double(NAN), double(INFINITY)}) step(bad, 1);
    size_t next = 0;
    for (const auto& [key, tensor] : weights) EXPECT_TRUE(tensor.equal(before[next++])) << key;
    for (const auto& [key, tensor] : optimizer.state()) EXPECT_TRUE(tensor.equal(before[next++])) << key;
  }
}

TEST(Optimizer, StateWrittenIntoAnotherOneContinuesTheSame) {
  for (const auto name : {OptimizerName::adamw, OptimizerName::lion, OptimizerName::sgd}) {
    const auto weights = tensors_of(golden().at("weights"));
    Optimizer optimizer({.name = name}, weights);
    const auto step = [](Optimizer& which, size_t index) {
      std::vector<Tensor> gradients;
      for (const auto& [key, tensor] : tensors_of(golden().at("gradients").as_array()[index]))
        gradients.push_back(tensor);
      which.step(0.01, gradients, at::zeros({}, at::kFloat));
    };
    for (size_t i = 0; i < 5; ++i) step(optimizer, i);
    NamedTensors copies;
    for (const auto& [key, tensor] : weights) copies.emplace_back(key, tensor.clone());
    Optimizer restored({.name = name}, copies);
    const auto from = optimizer.state(), to = restored.state();
    ASSERT_EQ(from.size(), to.size());
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_EQ(from[i].first, to[i].first);
      to[i].second.copy_(from[i].second);
    }
    step(optimizer, 5);
    step(restored, 5);
    for (size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(weights[i].second.equal(copies[i].second));
  }
}

TEST(FiniteWatch, RemembersTheFirstBadStepAndSkipsFromItOn) {
  const auto scalar = [](double value) { return at::full({}, value, at::kDouble); };
  struct Case {
    double loss, norm;
    bool bad;
  };
  for (const auto& [loss, norm, bad] :
       {Case{1, 2, false}, Case{NAN, 2, true}, Case{1, NAN, true}, Case{INFINITY, 2, true},
        Case{INFINITY, -INFINITY, true}, Case{1e300, 1e300, false}}) {
    FiniteWatch watch(at::kCPU);
    watch.observe(scalar(1), scalar(1), 1);
    EXPECT_EQ(watch.first_bad_step(), -1);
    watch.observe(scalar(loss), scalar(norm), 2);
    watch.observe(scalar(NAN), scalar(1), 3);
    watch.observe(scalar(1), scalar(1), 4);
    EXPECT_EQ(watch.first_bad_step(), bad ? 2 : 3);
    EXPECT_EQ(watch.skip().item<float>(), 1);
  }
}

}  // namespace
}  // namespace prentice

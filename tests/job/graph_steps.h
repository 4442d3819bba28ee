// Steps of a real decoder for the tests of recorded passes, on the CPU and on a GPU.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <random>
#include <utility>

#include "data/fixed_shape.h"
#include "data/steps.h"
#include "model/golden.h"
#include "objective/cross_entropy.h"
#include "train/step_runner.h"

namespace prentice {

inline constexpr const char* kFolders[] = {"llama_tied_linear", "mistral_window"};
inline constexpr FixedShape kShape{.tokens = 64, .longest = 20};

// Each step: micro-batches of random sequences with labels on some of their positions.
inline std::vector<Step> steps_of(int64_t count, int64_t vocab) {
  std::mt19937 random(5);
  const auto below = [&](int64_t limit) { return static_cast<int64_t>(random() % static_cast<uint64_t>(limit)); };
  std::vector<Step> steps(static_cast<size_t>(count));
  for (Step& step : steps) {
    for (int micro = 0; micro < 2; ++micro) {
      std::vector<Sequence> sequences(static_cast<size_t>(1 + below(3)));
      std::vector<const Sequence*> pointers;
      for (Sequence& sequence : sequences) {
        const int64_t length = 4 + below(17);
        for (int64_t t = 0; t < length; ++t) {
          sequence.ids.push_back(static_cast<int32_t>(below(vocab)));
          const bool trained = t + 1 < length && (t == 1 || below(3) > 0);
          sequence.labels.push_back(trained ? static_cast<int32_t>(below(vocab)) : static_cast<int32_t>(kNoLabel));
        }
        step.counts.tokens += sequence.target_weight();
        pointers.push_back(&sequence);
      }
      step.micros.push_back(collate(pointers, 0));
    }
  }
  return steps;
}

struct Trained {
  std::vector<Tensor> losses, gradients;  // of each step
  int64_t replays = 0;
};

inline Trained train_steps(const char* folder, at::ScalarType type, bool fixed, const PassRecorder& recorder,
                           at::Device device = at::kCPU) {
  Model model = load_model(kGoldenModels / folder, {.dtype = type, .device = device});
  NamedTensors weights;
  visit(model, [&](const std::string& name, Tensor& tensor) {
    tensor.set_requires_grad(true);
    weights.emplace_back(name, tensor);
  });
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics&) {
    return cross_entropy_share(forward_hidden(model, batch, {}), model.head, 0, batch, counts);
  };
  StepRunner runner(objective, weights, device, recorder);
  Trained made;
  for (Step& step : steps_of(12, model.spec.vocab)) {
    Tensor loss = at::zeros({}, at::TensorOptions(at::kDouble).device(device));
    Metrics metrics;
    for (Batch& micro : step.micros) {
      const Tensor share = runner.run(fixed ? with_fixed_shape(micro, kShape) : micro, step.counts, metrics);
      loss.add_(share);
    }
    made.losses.push_back(loss);
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : weights) {
      made.gradients.push_back(tensor.grad().clone());
      tensor.sub_(tensor.grad(), 0.05);  // each step depends on all before it
    }
    runner.clear_gradients();
  }
  made.replays = runner.replays();
  return made;
}

inline double worst(const std::vector<Tensor>& found, const std::vector<Tensor>& wanted) {
  double largest = 0;
  for (size_t i = 0; i < found.size(); ++i) largest = std::max(largest, relative(found[i], wanted[i]));
  return largest;
}

}  // namespace prentice

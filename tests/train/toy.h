// A training that the loop can run without a model: a two-layer network on a table of 64 rows, in f32 on the CPU.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "io/sha256.h"
#include "temp_dir.h"
#include "train/loop.h"

namespace prentice::toy {

inline constexpr int64_t kRows = 64, kInputs = 6, kHidden = 8;

struct SourceOptions {
  int64_t batch = 10, epochs = 4, micro = 4;
  uint64_t seed = 17;
};

// Row r of epoch e stands at (r * 37 + seed * e + 11) mod 64: an order that is a pure function of (seed, epoch).
class Source : public StepSource {
 public:
  explicit Source(SourceOptions options = {}) : options_(options) {}
  int64_t steps_in_epoch() const override { return (kRows + options_.batch - 1) / options_.batch; }
  int64_t size() const override { return steps_in_epoch() * options_.epochs; }
  std::string order_hash() const override {
    return sha256_hex(std::string_view("toy " + std::to_string(options_.seed) + " " + std::to_string(options_.batch)));
  }

  Step step(int64_t index) const override {
    const int64_t epoch = index / steps_in_epoch(), begin = index % steps_in_epoch() * options_.batch;
    const int64_t end = std::min(begin + options_.batch, kRows);
    Step step{.counts = {.tokens = static_cast<double>(end - begin)}, .epoch = epoch, .input_tokens = end - begin};
    for (int64_t first = begin; first < end; first += options_.micro) {
      const int64_t count = std::min(options_.micro, end - first);
      Tensor ids = at::empty({count}, at::kLong);
      for (int64_t i = 0; i < count; ++i) {
        ids.mutable_data_ptr<int64_t>()[i] =
            ((first + i) * 37 + static_cast<int64_t>(options_.seed) * epoch + 11) % kRows;
      }
      step.micros.push_back({.tokens = ids});
    }
    return step;
  }

 private:
  SourceOptions options_;
};

struct Network {
  Tensor a, b, bias;

  Network() {
    a = wave({kHidden, kInputs}, 0.1).requires_grad_(true);
    b = wave({1, kHidden}, 0.5).requires_grad_(true);
    bias = at::zeros({1}, at::kFloat).requires_grad_(true);
  }

  static Tensor wave(std::vector<int64_t> shape, double phase) {
    return at::arange(shape[0] * shape[1], at::kFloat).mul(0.7).add(phase).sin().mul(0.3).reshape(shape);
  }

  NamedTensors trainable() const {
    return {{"layer.lora_A.weight", a}, {"layer.lora_B.weight", b}, {"layer.bias", bias}};
  }

  Tensor share(const Batch& batch, const Counts& counts) const {
    const Tensor row = batch.tokens.to(at::kFloat).unsqueeze(1);
    const Tensor inputs = row.mul(at::arange(1, kInputs + 1, at::kFloat)).mul(0.37).sin();
    const Tensor wanted = inputs.matmul(wave({kHidden, kInputs}, 2.3).t()).tanh().sum(1);
    const Tensor got = inputs.matmul(a.t()).tanh().matmul(b.t()).squeeze(1).add(bias);
    return got.sub(wanted).square().sum().div(counts.tokens);
  }

  Objective objective() const {
    return [this](const Batch& batch, const Counts& counts, Metrics& metrics) {
      Tensor share = this->share(batch, counts);
      metrics["half"] = share.detach().mul(0.5);
      return share;
    };
  }
};

// On one thread, as the processes that tests fork (process.h): a checkpoint binds its run to the number.
inline TrainConfig config_for(const std::filesystem::path& out) {
  at::set_num_threads(1);
  TrainConfig config;
  config.out = out;
  config.run_id = "toy";
  config.log_every = 5;
  config.checkpoint_every = 6;
  config.optimizer = {.weight_decay = 0.1, .lr_ratio = 4, .lr = 0.02};
  config.schedule = {.warmup_steps = 3, .min_lr = 0.1};
  config.recipe = "recipe: sft\nrun:\n  out: " + out.string() + "\noptim:\n  lr: 0.02\n";
  config.quiet = true;
  return config;
}

}  // namespace prentice::toy

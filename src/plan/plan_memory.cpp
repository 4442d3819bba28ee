#include "plan/plan_memory.h"

#include <algorithm>
#include <bit>

#include "artifact/open.h"
#include "core/error.h"
#include "plan/rehearsal.h"
#include "proof/layer_walk.h"
#include "proof/logit_proof.h"

namespace prentice {

namespace {

constexpr int64_t kF32 = 4;

// Rows of a tensor on their way to a file, as they are read, as f32 and as they are written.
constexpr int64_t kRowBlocks = int64_t{8} << 20;

// Causal attention reads half of the keys on average.
double attention_flops(const ModelSpec& spec, double mean_length) {
  return 2.0 * 2 * static_cast<double>(spec.layers * spec.heads * spec.head_dim) * mean_length / 2;
}

// Multiply-adds of the products: an embedding that is no head is only looked up.
double weights_in_products(const ModelSpec& spec) {
  const double embedding = static_cast<double>(spec.vocab) * static_cast<double>(spec.hidden);
  return static_cast<double>(parameter_count(spec)) - (spec.tied_head ? 0 : embedding);
}

}  // namespace

std::array<std::pair<std::string_view, int64_t>, 8> MemoryByPhase::phases() const {
  return {{{"load", load},
           {"forward", forward},
           {"backward", backward},
           {"step", step},
           {"eval", eval},
           {"save", save},
           {"export", export_},
           {"verify", verify}}};
}

int64_t MemoryByPhase::peak() const { return std::max({load, forward, backward, step, eval, save, export_, verify}); }

std::string_view MemoryByPhase::peak_phase() const {
  const auto all = phases();
  return std::ranges::max_element(all, {}, &std::pair<std::string_view, int64_t>::second)->first;
}

MemoryByPhase step_memory(const StepShape& shape) {
  const Rehearsed found = rehearse(shape);
  const int64_t context = shape.is_gpu ? kGpuContextBytes : kCpuContextBytes;
  const int64_t between = context + found.weights + found.asked + found.learned + found.moments;
  MemoryByPhase memory;
  memory.load = context + found.weights + found.asked + found.learned;
  memory.forward = context + found.forward;
  memory.backward = context + found.backward;
  memory.step = between + found.gradients + found.moving + found.paged;
  memory.eval = context + found.eval;
  memory.save = between;
  memory.export_ = memory.load + kRowBlocks + found.fetched;  // the moments are gone when training ends
  return memory;
}

int64_t offloaded_bytes(const StepShape& shape) {
  if (!shape.offload) return 0;
  // LibTorch hands out pinned memory in powers of two.
  const auto pinned = [&](int64_t rows) {
    const int64_t bytes = rows * shape.spec.hidden * static_cast<int64_t>(c10::elementSize(shape.dtype));
    return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(bytes)));
  };
  const auto [embed, head] = shape.host_ends();
  const int64_t ends = int64_t{embed} + int64_t{head && !shape.spec.tied_head};
  const int64_t looked_up = embed ? 2 : 0;  // rows of one micro-batch, while those of the one before are on their way
  const int64_t inputs = looked_up + (shape.recomputed == Recomputed::nothing ? 0 : shape.spec.layers);
  return shape.state_bytes + inputs * pinned(std::max(shape.micro_tokens, shape.longest)) +
         ends * pinned(shape.spec.vocab);
}

std::span<const int64_t> micro_batches(bool gpu) {
  static constexpr int64_t kGpu[] = {32768, 16384, 8192, 4096, 2048, 1024};
  static constexpr int64_t kCpu[] = {2048, 1024, 512};
  return gpu ? std::span<const int64_t>(kGpu) : std::span<const int64_t>(kCpu);
}

int64_t verification_bytes(const ModelSpec& spec, int64_t tokens, bool is_gpu) {
  // f64: two sides' logits, the f32 ones that they come of, logarithms of one, differences, and two on the way to a sum
  constexpr int64_t kCopies = 7;
  const int64_t ends = spec.vocab * spec.hidden, layers = parameter_count(spec) - (spec.tied_head ? 1 : 2) * ends;
  const int64_t micro = std::min(tokens, kProofMicroTokens) * (12 * spec.hidden + 4 * spec.feed_forward);
  const int64_t heads = is_gpu ? 0 : 2 * std::min(ends, kHeldValues);  // those stay on the host
  const int64_t logits = std::min(tokens * spec.vocab, kProofLogits) * kCopies * int64_t{sizeof(double)};
  return (heads + 2 * tokens * spec.hidden) * kF32 + std::max((layers / spec.layers + micro) * kF32, logits);
}

std::pair<std::string_view, int64_t> largest_part(const StepShape& shape) {
  const Rehearsed found = rehearse(shape);
  const int64_t held = found.weights + found.asked + found.learned + found.moments + found.gradients + found.kept;
  return std::max({std::pair<std::string_view, int64_t>{"the model's weights", found.weights},
                   {"the second model", found.asked},
                   {"the gradients", found.gradients},
                   {"the optimizer's moments", found.moments},
                   {"what is kept for the backward pass", found.kept},
                   {"logits and workspace", std::max(found.forward, found.backward) - held},
                   {"libraries", shape.is_gpu ? kGpuContextBytes : kCpuContextBytes}},
                  [](const auto& a, const auto& b) { return a.second < b.second; });
}

double flops_per_token(const StepShape& shape, double mean_length) {
  const double linears = weights_in_products(shape.spec), per_weight = shape.full() ? 6 : 4;
  const double attention = 3.5 * attention_flops(shape.spec, mean_length);  // backward costs 2.5 forwards (Dao 2023)
  const double step =
      per_weight * linears + 6.0 * (shape.full() ? 0 : static_cast<double>(shape.trainable)) + attention;
  const bool asks = shape.asked && shape.asked->every_step && shape.asked->place == AskedModel::Place::with_model;
  return step + (asks ? forward_flops_per_token(shape.asked->spec, mean_length) : 0);
}

double forward_flops_per_token(const ModelSpec& spec, double mean_length) {
  return 2 * weights_in_products(spec) + attention_flops(spec, mean_length);
}

}  // namespace prentice

#include "recipes/plan_memory.h"

#include <algorithm>

#include "objective/distill.h"
#include "objective/head.h"
#include "recipes/open.h"

namespace prentice {

namespace {

constexpr int64_t kF32 = 4;

// Values a block keeps for its backward pass, elements a token: both norms' inputs and outputs, q, k, v, the
// attention's output, gate, up and their product, and the adapters' inner products; with DoRA the products that the
// gains multiply.
int64_t saved_elements_per_block(const StepShape& shape) {
  const ModelSpec& spec = shape.spec;
  const int64_t attention = (2 * spec.heads + 2 * spec.kv_heads) * spec.head_dim;
  return 4 * spec.hidden + attention + 3 * spec.feed_forward +
         (shape.adapter_rank_sum + shape.magnitude_widths) / std::max<int64_t>(1, spec.layers);
}

// What a pass without gradients holds at a time.
int64_t pass_bytes(const AskedModel& asked, int64_t element, int64_t tokens) {
  return asked.every_step ? (3 * asked.spec.hidden + 2 * asked.spec.feed_forward) * element * tokens : 0;
}

// What it leaves for the pass of the model that trains: states, and its logits of one chunk (objective/distill).
int64_t kept_bytes(const AskedModel& asked, int64_t element, int64_t tokens, int64_t labelled) {
  const int64_t chunk = std::min<int64_t>(labelled * asked.spec.vocab * kF32, kDistillLogitBytes);
  return asked.kept_states * asked.spec.hidden * element * tokens + (asked.logits ? 2 * chunk : 0);
}

// Causal attention reads half of the keys on average.
double attention_flops(const ModelSpec& spec, double mean_length) {
  return 2.0 * 2 * static_cast<double>(spec.layers * spec.heads * spec.head_dim) * mean_length / 2;
}

// Multiply-adds of the products: an embedding that is no head is only looked up.
double weights_in_products(const ModelSpec& spec) {
  const double embedding = static_cast<double>(spec.vocab) * static_cast<double>(spec.hidden);
  return static_cast<double>(parameter_count(spec)) - (spec.tied_head ? 0 : embedding);
}

// What is held at once while a step runs backward.
struct Parts {
  int64_t context = 0, weights = 0, asked = 0, gradients = 0, moments = 0;
  int64_t asked_pass = 0, kept = 0;  // of the model that is asked: while it answers, and what is kept of it
  int64_t block = 0;                 // the values that one pass through all blocks' norms, products and attention saves
  int64_t saved = 0;                 // of them those that are kept until the backward pass
  int64_t working = 0;
  int64_t dequantized = 0;  // the memory of one weight, which the next one takes over
};

Parts parts_of(const StepShape& shape) {
  const ModelSpec& spec = shape.spec;
  // Compute runs in the weights' type, but for f32 trainable weights under bf16, which are cast at use.
  const int64_t element = shape.full ? (shape.is_gpu ? 2 : kF32) : shape.weight_bytes;
  const int64_t tokens = std::max(shape.micro_tokens, shape.longest);
  const int64_t labelled = shape.labelled > 0 ? shape.labelled : tokens;
  const int64_t stream = spec.hidden * element * tokens;
  Parts parts{.context = shape.is_gpu ? kGpuContextBytes : kCpuContextBytes,
              .gradients = shape.trainable * kF32,
              .moments = shape.trainable * kF32 * shape.moments,
              .block = saved_elements_per_block(shape) * element * tokens};
  if (shape.asked && shape.asked->place == AskedModel::Place::with_model) {
    parts.asked = shape.asked->bytes;
    parts.asked_pass = pass_bytes(*shape.asked, element, tokens);
  }
  if (shape.asked) parts.kept = kept_bytes(*shape.asked, element, tokens, labelled);
  parts.weights = shape.full ? shape.parameters * kF32
                             : shape.parameters * shape.weight_bytes + (shape.trainable + shape.adapter_frozen) * kF32;
  parts.saved = shape.recompute_blocks ? spec.layers * stream + parts.block : spec.layers * parts.block;
  // Logits of one chunk and their gradient, and the attention's and products' workspace.
  const int64_t rows = spec.labels > 0 ? spec.labels : spec.vocab;
  const int64_t head = std::min(labelled * rows * kF32, default_logit_bytes(shape.is_gpu)) * 2 +
                       (shape.scaled_head ? 2 * rows * spec.hidden * kF32 : 0);
  parts.weights -= shape.quantized_less;
  parts.dequantized = shape.dequantized * element;
  parts.working = 3 * stream + 2 * tokens * spec.feed_forward * element + head;
  return parts;
}

// Measured on a CPU, where memory between tensors that live on is not given back: in blocks' saved values, what a
// backward pass leaves unused, and what a pass without gradients takes together with what it leaves.
constexpr double kHeapBlocks = 3.2, kPassBlocks = 1.2;

// Of what parts_of counts, a scoring pass beside training, or the only one.
Parts scoring_parts(const StepShape& shape) {
  StepShape pass = shape;
  if (shape.eval_tokens > 0) {
    pass.micro_tokens = shape.eval_tokens, pass.labelled = shape.eval_labelled;
    pass.longest = std::min(shape.longest, shape.eval_tokens);
  }
  return parts_of(pass);
}

// Shorter rows than these are not proposed.
constexpr int64_t kShortestRow = 32;

}  // namespace

std::array<std::pair<std::string_view, int64_t>, 7> MemoryByPhase::phases() const {
  return {{{"load", load},
           {"forward", forward},
           {"backward", backward},
           {"step", step},
           {"eval", eval},
           {"save", save},
           {"export", export_}}};
}

int64_t MemoryByPhase::peak() const { return std::max({load, forward, backward, step, eval, save, export_}); }

std::string_view MemoryByPhase::peak_phase() const {
  const auto all = phases();
  return std::ranges::max_element(all, {}, &std::pair<std::string_view, int64_t>::second)->first;
}

StepShape step_shape(const ModelSpec& spec, const Machine& machine, const Hardware& hardware, Quantize quantize) {
  StepShape shape{.spec = spec,
                  .weight_bytes = machine.dtype == c10::kBFloat16 ? 2 : 4,
                  .parameters = parameter_count(spec),
                  .is_gpu = hardware.is_gpu};
  const HeldWeights held = held_weights(spec, machine.dtype, quantize);
  shape.quantized_less = shape.parameters * shape.weight_bytes - held.bytes;
  shape.dequantized = held.largest_quantized;
  return shape;
}

MemoryByPhase step_memory(const StepShape& shape) {
  const ModelSpec& spec = shape.spec;
  const Parts parts = parts_of(shape), pass = scoring_parts(shape);
  const auto blocks = [&](double count, const Parts& of) {
    return static_cast<int64_t>(count * static_cast<double>(of.block));
  };
  const int64_t heap = shape.is_gpu || shape.trainable == 0 ? 0 : blocks(kHeapBlocks, parts);
  const int64_t passing = shape.is_gpu ? 2 * pass.block / std::max<int64_t>(1, spec.layers) : blocks(kPassBlocks, pass);
  MemoryByPhase memory;
  memory.load = parts.context + parts.weights + parts.asked;
  memory.forward = memory.load + parts.dequantized + parts.moments + parts.gradients + parts.kept +
                   std::max(parts.asked_pass, parts.saved + parts.working);
  memory.backward = memory.forward + (shape.recompute_blocks ? parts.block : parts.block / 2) + heap;
  const int64_t between = parts.context + parts.weights + parts.asked + parts.dequantized;
  memory.step = between + parts.moments + parts.gradients + parts.gradients / 4;
  memory.eval = between + parts.moments + heap + passing + pass.working;
  memory.save = between + parts.moments;
  memory.export_ = between + parts.moments + std::max(spec.vocab, spec.feed_forward) * spec.hidden * kF32;
  return memory;
}

std::span<const int64_t> micro_batches(bool gpu) {
  static constexpr int64_t kGpu[] = {32768, 16384, 8192, 4096, 2048, 1024};
  static constexpr int64_t kCpu[] = {2048, 1024, 512};
  return gpu ? std::span<const int64_t>(kGpu) : std::span<const int64_t>(kCpu);
}

SmallerStep smaller_step(const StepShape& shape, int64_t group, int64_t memory_bytes) {
  SmallerStep smaller;
  const auto fits = [&](bool recompute, bool smallest, int64_t max_length) {
    smaller = {.shape = shape, .max_length = max_length};
    if (recompute) smaller.shape.recompute_blocks = true;
    if (max_length > 0) smaller.shape.longest = std::min(shape.longest, group * max_length);
    if (smallest) {
      const int64_t least = std::max(micro_batches(shape.is_gpu).back(), smaller.shape.longest);
      smaller.shape.micro_tokens = std::min(shape.micro_tokens, least);
    }
    smaller.peak_bytes = step_memory(smaller.shape).peak();
    smaller.fits = smaller.peak_bytes <= memory_bytes;
    return smaller.fits;
  };
  if (fits(true, false, 0) || fits(false, true, 0) || fits(true, true, 0)) return smaller;
  for (int64_t row = shape.longest / group / 2; row >= kShortestRow; row /= 2) {
    if (fits(true, true, row)) break;
  }
  return smaller;
}

std::pair<std::string_view, int64_t> largest_part(const StepShape& shape) {
  const Parts parts = parts_of(shape);
  return std::max({std::pair<std::string_view, int64_t>{"the model's weights", parts.weights},
                   {"the second model", parts.asked},
                   {"the gradients", parts.gradients},
                   {"the optimizer's moments", parts.moments},
                   {"what is kept for the backward pass", parts.saved},
                   {"logits and workspace", parts.working},
                   {"libraries", parts.context}},
                  [](const auto& a, const auto& b) { return a.second < b.second; });
}

double flops_per_token(const StepShape& shape, double mean_length) {
  const double linears = weights_in_products(shape.spec), per_weight = shape.full ? 6 : 4;
  const double attention = 3.5 * attention_flops(shape.spec, mean_length);  // backward costs 2.5 forwards (Dao 2023)
  const double step = per_weight * linears + 6.0 * (shape.full ? 0 : static_cast<double>(shape.trainable)) + attention;
  const bool asks = shape.asked && shape.asked->every_step && shape.asked->place == AskedModel::Place::with_model;
  return step + (asks ? forward_flops_per_token(shape.asked->spec, mean_length) : 0);
}

double forward_flops_per_token(const ModelSpec& spec, double mean_length) {
  return 2 * weights_in_products(spec) + attention_flops(spec, mean_length);
}

}  // namespace prentice

#include "recipes/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "recipes/open.h"
#include "recipes/units.h"

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

}  // namespace

int64_t MemoryByPhase::peak() const { return std::max({load, forward, backward, step, eval, save, export_}); }

StepShape step_shape(const ModelSpec& spec, const Machine& machine, const Hardware& hardware) {
  return {.spec = spec,
          .weight_bytes = machine.dtype == c10::kBFloat16 ? 2 : 4,
          .parameters = parameter_count(spec),
          .is_gpu = hardware.is_gpu};
}

MemoryByPhase step_memory(const StepShape& shape) {
  const ModelSpec& spec = shape.spec;
  // Compute runs in the weights' type, but for f32 trainable weights under bf16, which are cast at use.
  const int64_t element = shape.full ? (shape.is_gpu ? 2 : kF32) : shape.weight_bytes;
  const int64_t tokens = std::max(shape.micro_tokens, shape.longest);
  const int64_t weights = shape.full
                              ? shape.parameters * kF32
                              : shape.parameters * shape.weight_bytes + (shape.trainable + shape.adapter_frozen) * kF32;
  const int64_t gradients = shape.trainable * kF32;
  const int64_t optimizer = shape.trainable * kF32 * shape.moments;
  const int64_t block = saved_elements_per_block(shape) * element * tokens;
  const int64_t stream = spec.hidden * element * tokens;
  const int64_t saved = shape.recompute_blocks ? spec.layers * stream + block : spec.layers * block;
  // Logits of one chunk and their gradient (objective/cross_entropy), and the attention's and products' workspace.
  const int64_t head = std::min<int64_t>(tokens * spec.vocab * kF32, int64_t{64} << 20) * 2 +
                       (shape.scaled_head ? 2 * spec.vocab * spec.hidden * kF32 : 0);
  const int64_t working = 3 * stream + 2 * tokens * spec.feed_forward * element + head;
  const int64_t context = shape.is_gpu ? kGpuContextBytes : kCpuContextBytes;

  MemoryByPhase memory;
  memory.load = context + weights + shape.reference_bytes;
  memory.forward = memory.load + optimizer + gradients + saved + working;
  memory.backward = memory.forward + (shape.recompute_blocks ? block : block / 2);
  memory.step = memory.load + optimizer + gradients + gradients / 4;
  memory.eval = memory.load + optimizer + 2 * block / std::max<int64_t>(1, spec.layers) + working;
  memory.save = memory.load + optimizer;
  memory.export_ = memory.load + optimizer + std::max(spec.vocab, spec.feed_forward) * spec.hidden * kF32;
  return memory;
}

double flops_per_token(const StepShape& shape, double mean_length) {
  const ModelSpec& spec = shape.spec;
  const double embedding = static_cast<double>(spec.vocab) * spec.hidden;
  const double linears = static_cast<double>(shape.parameters) - (spec.tied_head ? 0 : embedding);
  const double per_weight = shape.full ? 6 : 4;
  // Causal attention reads half of the keys on average; backward costs 2.5 forwards (Dao 2023).
  const double attention = 3.5 * 2 * 2 * spec.layers * spec.heads * spec.head_dim * mean_length / 2;
  const double step = per_weight * linears + 6.0 * (shape.full ? 0 : static_cast<double>(shape.trainable)) + attention;
  return step + (shape.reference_pass ? 2 * linears + attention / 3.5 : 0);
}

Json to_json(const Plan& plan) {
  Json::Object decided;
  for (const auto& [key, value] : plan.decided) decided.emplace_back(key, value);
  const MemoryByPhase& memory = plan.memory;
  return Json::Object{
      {"schema", 1},
      {"fits", plan.fits},
      {"steps", plan.steps},
      {"tokens_per_step", plan.tokens_per_step},
      {"trained_tokens", static_cast<int64_t>(std::llround(plan.trained_tokens))},
      {"seconds", plan.seconds},
      {"cost", Json::Object{{"amount", plan.cost}, {"currency", plan.hardware.currency}}},
      {"disk_bytes", plan.disk_bytes},
      {"host_peak_bytes", plan.host_peak_bytes},
      {"device", Json::Object{{"name", plan.hardware.name}, {"bytes", plan.hardware.memory_bytes}}},
      {"memory", Json::Object{{"load", memory.load},
                              {"forward", memory.forward},
                              {"backward", memory.backward},
                              {"step", memory.step},
                              {"eval", memory.eval},
                              {"save", memory.save},
                              {"export", memory.export_},
                              {"peak", memory.peak()}}},
      {"decided", decided},
  };
}

std::string to_text(const Plan& plan) {
  const MemoryByPhase& memory = plan.memory;
  std::string text = fmt::format("device      {}, {}\n", plan.hardware.name, human_bytes(plan.hardware.memory_bytes));
  if (plan.steps > 0) {
    text += fmt::format("steps       {} of {} tokens on average; {} trained tokens in all\n", plan.steps,
                        human_count(plan.tokens_per_step), human_count(plan.trained_tokens));
    text += fmt::format("time        {}{}\n", plan.seconds < 1 ? "under 1 s" : "about " + human_duration(plan.seconds),
                        plan.cost > 0 ? fmt::format(", {:.2f} {}", plan.cost, plan.hardware.currency) : "");
  }
  const std::pair<const char*, int64_t> phases[] = {
      {"load", memory.load}, {"forward", memory.forward}, {"backward", memory.backward}, {"step", memory.step},
      {"eval", memory.eval}, {"save", memory.save},       {"export", memory.export_}};
  std::string by_phase;
  for (const auto& [phase, bytes] : phases) {
    if (bytes > 0) by_phase += fmt::format("{}{} {}", by_phase.empty() ? "" : ", ", phase, human_bytes(bytes));
  }
  text += fmt::format("memory      {} at the peak: {}\n", human_bytes(memory.peak()), by_phase);
  if (plan.disk_bytes > 0) text += fmt::format("disk        {}\n", human_bytes(plan.disk_bytes));
  text += plan.fits ? "fits        yes\n" : "fits        NO\n";
  text += "decided     ";
  for (size_t i = 0; i < plan.decided.size(); ++i) {
    text += fmt::format("{}{}={}", i == 0 ? "" : "  ", plan.decided[i].first, plan.decided[i].second);
  }
  return text + "\n";
}

}  // namespace prentice

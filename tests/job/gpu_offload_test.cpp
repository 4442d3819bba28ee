// What waits in host memory gives the bits of what stays on the device.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "adapter/lora.h"
#include "adapter/trainable.h"
#include "eval/trie.h"
#include "job/gpu_run.h"
#include "job/graph_steps.h"
#include "model/generate.h"
#include "objective/token_log_probs.h"

namespace prentice {
namespace {

class GpuOffload : public GpuRun {};

// Losses and gradients of steps, and what evaluations read.
std::vector<Tensor> passes(const char* folder, bool offload) {
  const at::Device device(at::kCUDA, 0);
  AdapterSection section;
  section.rank = 4;
  const HostEnds ends = offload ? frozen_ends(read_spec(kGoldenModels / folder), Quantize::none, section) : HostEnds{};
  EXPECT_EQ(ends.any(), offload);
  Model model = load_model(kGoldenModels / folder, {.dtype = at::kBFloat16, .device = device, .host_ends = ends});
  EXPECT_EQ(model.embed.is_cpu(), offload);
  attach_lora(model, section, 7);
  NamedTensors trained = trainable(model, section);
  const ForwardOptions options{.training = true, .recomputed = Recomputed::block, .offload = offload, .seed = 7};
  std::vector<Tensor> made;
  for (Step& step : steps_of(3, model.spec.vocab)) {
    for (const Batch& micro : step.micros) {
      const Batch batch = to_device(micro, device);
      const Tensor loss =
          cross_entropy_share(forward_hidden(model, batch, options), model.head, 0, batch, step.counts, options);
      loss.backward();
      made.push_back(loss.detach());
    }
    const at::NoGradGuard no_grad;
    for (auto& [name, tensor] : trained) {
      made.push_back(tensor.grad().clone());
      tensor.sub_(tensor.grad(), 0.05);
      tensor.mutable_grad() = Tensor();
    }
  }
  // The losses of preference read the head in both passes.
  const Batch batch = to_device(steps_of(1, model.spec.vocab)[0].micros[0], device);
  token_log_probs(forward_hidden(model, batch, options), model.head, 0, batch, options).sum().backward();
  for (auto& [name, tensor] : trained) made.push_back(tensor.grad().clone());
  const at::NoGradGuard no_grad;
  made.push_back(edge_log_probs(model, {build_tree({1, 5, 9}, {{2, 3}, {2, 4}, {7}})}).to(device));
  const std::vector<int32_t> prompt = {1, 5, 9, 2};
  KvCache cache(model);
  made.push_back(logits(model, forward_cached(model, prompt, cache)));
  const Model at_hand = with_head_at_hand(model);
  KvCache second(at_hand);
  made.push_back(logits(at_hand, forward_cached(at_hand, prompt, second)));
  return made;
}

TEST_F(GpuOffload, AModelWhoseEndsWaitHasTheBitsOfOneThatIsOnTheDevice) {
  for (const char* folder : kFolders) {
    const auto there = passes(folder, false), waiting = passes(folder, true);
    ASSERT_EQ(there.size(), waiting.size());
    for (size_t i = 0; i < there.size(); ++i) {
      EXPECT_TRUE(waiting[i].is_cuda());
      EXPECT_TRUE(at::equal(there[i], waiting[i])) << folder << ", " << i;
    }
  }
}

}  // namespace
}  // namespace prentice

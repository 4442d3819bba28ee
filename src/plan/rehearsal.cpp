#include "plan/rehearsal.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "adapter/lora.h"
#include "adapter/qat.h"
#include "adapter/trainable.h"
#include "config/distill_rules.h"
#include "core/meta_memory.h"
#include "distill/distill_states.h"
#include "kernels/meta_forms.h"
#include "model/make.h"
#include "model/score.h"
#include "objective/cross_entropy.h"
#include "objective/distill.h"
#include "objective/token_log_probs.h"
#include "objective/uld.h"
#include "train/optimizer.h"

namespace prentice {

namespace {

const auto kOnMeta = at::TensorOptions().device(c10::kMeta);

Batch batch_of(std::vector<int64_t> starts, int64_t labelled) {
  Batch batch;
  const int64_t tokens = starts.back(), rows = static_cast<int64_t>(starts.size()) - 1;
  for (int64_t row = 0; row < rows; ++row) batch.longest = std::max(batch.longest, starts[row + 1] - starts[row]);
  batch.host_starts = std::move(starts);
  const auto longs = kOnMeta.dtype(at::kLong), ints = kOnMeta.dtype(at::kInt);
  batch.tokens = at::empty({tokens}, longs);
  batch.positions = at::empty({tokens}, longs);
  batch.labels = at::empty({tokens}, longs);
  batch.weights = at::empty({tokens}, kOnMeta.dtype(at::kFloat));
  batch.target_rows = at::empty({labelled}, longs);
  batch.starts = at::empty({rows + 1}, ints);
  batch.sequence_id = at::empty({tokens}, ints);
  batch.sample_key = at::empty({rows}, longs);
  return batch;
}

// Rows of `longest` tokens, the last one shorter.
std::vector<int64_t> even_starts(int64_t tokens, int64_t longest) {
  std::vector<int64_t> starts;
  for (int64_t start = 0; start < tokens; start += longest) starts.push_back(start);
  starts.push_back(tokens);
  return starts;
}

std::vector<int64_t> training_starts(const StepShape& shape) {
  const bool known = !shape.starts.empty() && shape.starts.back() == shape.micro_tokens;
  const int64_t tokens = std::max(shape.micro_tokens, shape.longest);
  return known ? shape.starts : even_starts(tokens, shape.longest > 0 ? shape.longest : tokens);
}

Batch training_batch(const StepShape& shape) {
  const auto starts = training_starts(shape);
  return batch_of(starts, shape.labelled > 0 ? shape.labelled : starts.back());
}

Batch scoring_batch(const StepShape& shape) {
  if (shape.eval_tokens == 0) return training_batch(shape);
  const int64_t longest = shape.longest > 0 ? std::min(shape.longest, shape.eval_tokens) : shape.eval_tokens;
  return batch_of(even_starts(shape.eval_tokens, longest), shape.eval_labelled);
}

// The models of a step and what trains.
class Rehearsal {
 public:
  explicit Rehearsal(const StepShape& shape)
      : shape_(shape), model_(on_meta(shape.spec, shape.dtype, shape.quantize, shape.host_ends())) {
    if (shape.adapter) {
      if (!shape.full()) attach_lora(model_, *shape.adapter, 0);
      train_as_served(model_, shape.served);
      weights_ = trainable(model_, *shape.adapter);
    }
    chunks_.logit_bytes = shape.asked && shape.asked->teach ? kDistillLogitBytes : default_logit_bytes(shape.is_gpu);
  }

  // The second model. Separate from the constructor, so that its bytes can be told apart.
  void take_asked() {
    if (!shape_.asked) return;
    const AskedModel& asked = *shape_.asked;
    if (asked.teach) {
      teacher_.emplace(on_meta(asked.spec, asked.dtype, asked.quantize));
    } else if (asked.bytes > 0) {
      reference_ = at::empty({asked.bytes}, kOnMeta.dtype(at::kByte));
    }
  }

  // What is learned beside the model.
  void take_projections() {
    if (!teacher_ || !compares_states(shape_.asked->teach->loss)) return;
    states_.emplace(*shape_.asked->teach, shape_.spec, shape_.asked->spec, 0, at::Device(at::kMeta));
    for (const auto& learned : states_->projections()) weights_.push_back(learned);
  }

  const NamedTensors& weights() const { return weights_; }

  // As evaluations have it.
  void fetch_head() { model_ = with_head_at_hand(model_); }

  Tensor share(const Batch& batch, bool training) const {
    ForwardOptions options{.training = training};
    if (training) options.recomputed = shape_.recomputed, options.offload = shape_.offload;
    const auto log_probs = [&](const ForwardOptions& how) {
      return token_log_probs(forward_hidden(model_, batch, how), model_.head, cap(), batch, how, chunks_);
    };
    switch (shape_.loss) {
      case StepLoss::labels:
        return labels_share(forward_hidden(model_, batch, options), batch, options);
      case StepLoss::answers: {
        const Tensor known = [&]() -> Tensor {
          const c10::NoGradGuard no_grad;
          return shape_.asked && shape_.asked->every_step ? log_probs({}) : Tensor();
        }();
        const Tensor found = log_probs(options);
        return (known.defined() ? found - known : found).sum();
      }
      case StepLoss::scores:
        return sequence_scores(model_, batch, options).sum();
      case StepLoss::distributions:
        return training ? taught_share(batch, options)
                        : labels_share(forward_hidden(model_, batch, options), batch, options);
    }
    return {};
  }

 private:
  static Model on_meta(const ModelSpec& spec, c10::ScalarType dtype, Quantize quantize, HostEnds host_ends = {}) {
    return make_model(spec, {.dtype = dtype, .device = c10::kMeta, .quantize = quantize, .host_ends = host_ends});
  }
  double cap() const { return shape_.spec.final_softcap; }

  Tensor labels_share(const Tensor& hidden, const Batch& batch, const ForwardOptions& options) const {
    return cross_entropy_share(hidden, model_.head, cap(), batch, kOne, options, chunks_);
  }

  Tensor taught_share(const Batch& batch, const ForwardOptions& options) const {
    const DistillSection& section = *shape_.asked->teach;
    if (states_) {
      const SeenStates theirs = teacher_states(batch, states_->teacher_layers());
      const SeenStates ours = forward_states(model_, batch, options, states_->student_layers());
      return states_->share(ours, theirs, batch, kOne) + labels_share(ours.hidden, batch, options);
    }
    const Tensor theirs = teacher_states(batch, {}).hidden;
    const Tensor hidden = forward_hidden(model_, batch, options);
    const DistillOptions how{.temperature = section.temperature};
    const Linear& head = teacher_->head;
    const double their_cap = shape_.asked->spec.final_softcap;
    if (section.loss == DistillLoss::uld) {
      const UldTeacher teacher{.hidden = theirs, .head = head, .final_softcap = their_cap, .rows = batch.target_rows};
      return uld_share(hidden, model_.head, cap(), batch, kOne, teacher, how, options, chunks_).loss;
    }
    DistillOptions same = how;
    same.vocab = std::min(shape_.spec.vocab, shape_.asked->spec.vocab);
    return distill_share(hidden, model_.head, cap(), batch, kOne, LiveTeacher{theirs, head, their_cap}, same, options,
                         chunks_)
        .loss;
  }

  // On another device its pass takes nothing here, but for what comes of it.
  SeenStates teacher_states(const Batch& batch, const std::vector<int64_t>& layers) const {
    const c10::NoGradGuard no_grad;
    if (shape_.asked->here()) return forward_states(*teacher_, batch, {}, layers);
    const auto state = [&] {
      return at::empty({batch.tokens.size(0), shape_.asked->spec.hidden}, kOnMeta.dtype(shape_.asked->dtype));
    };
    SeenStates seen{.hidden = state()};
    for (size_t i = 0; i < layers.size(); ++i) seen.states.push_back(state());
    return seen;
  }

  static constexpr Counts kOne{.tokens = 1};
  const StepShape& shape_;
  Model model_;
  NamedTensors weights_;
  Tensor reference_;
  std::optional<Model> teacher_;
  std::optional<StateMatch> states_;
  HeadChunks chunks_;
};

// A page ends behind the tensor that fills it, and a tensor has at most two states of its size.
int64_t two_pages(const NamedTensors& states) {
  int64_t all = 0, largest = 0;
  for (const auto& [name, state] : states) {
    const auto bytes = static_cast<int64_t>(state.nbytes());
    all += bytes, largest = std::max(largest, bytes);
  }
  return std::min(all, 2 * (kStatePageBytes + 2 * largest));
}

Rehearsed rehearse_whole(const StepShape& shape) {
  register_meta_forms();
  const MetaStandsForCpu stands(!shape.is_gpu);
  Rehearsed found;
  int64_t start = MetaMemory::live();
  const auto held = [&] { return MetaMemory::live() - start; };
  const auto most = [&](const auto& pass) {
    MetaMemory::forget_peak();
    pass();
    return MetaMemory::peak() - start;
  };
  Rehearsal rehearsal(shape);
  found.weights = held();
  rehearsal.take_asked();
  found.asked = held() - found.weights;
  if (shape.asked && !shape.asked->here()) start += std::exchange(found.asked, 0);
  rehearsal.take_projections();
  found.learned = held() - found.weights - found.asked;
  std::optional<Optimizer> optimizer;
  if (shape.adapter) {
    optimizer.emplace(OptimizerOptions{.name = shape.optimizer, .beta1 = shape.beta1, .offload = shape.offload},
                      rehearsal.weights());
    if (shape.offload) found.paged = two_pages(optimizer->state());
    found.moving = most_beside(shape.optimizer, rehearsal.weights());
  }
  found.moments = held() - found.weights - found.asked - found.learned;
  if (shape.adapter) {
    const Batch batch = training_batch(shape);
    const int64_t begin = held();
    Tensor share;
    const auto forward = [&] { share = rehearsal.share(batch, true); };
    const auto backward = [&] { share.backward(), share = Tensor(); };
    const auto take = [&](int64_t before) {
      found.forward = most(forward);
      found.kept = held() - before;
      found.backward = most(backward);
    };
    take(begin);
    const int64_t between = held();
    found.gradients = between - begin;
    if (shape.accumulates) take(between);  // the second micro-batch meets the gradients of the first
    for (const auto& [name, weight] : rehearsal.weights()) weight.mutable_grad() = Tensor();
  }
  found.eval = most([&] {
    const c10::NoGradGuard no_grad;
    const int64_t before = held();
    rehearsal.fetch_head();
    found.fetched = held() - before;
    rehearsal.share(scoring_batch(shape), false);
  });
  return found;
}

// Attention with a soft cap is written out row by row, and a micro-batch may have thousands of rows.
constexpr int64_t kRowsTaken = 4;

int64_t rows_of(const StepShape& shape) { return static_cast<int64_t>(training_starts(shape).size()) - 1; }

// `rows` of the shape's, evenly spread, with their share of the labels and of the scoring pass.
StepShape some_rows(const StepShape& shape, int64_t rows) {
  const std::vector<int64_t> starts = training_starts(shape);
  const int64_t all = rows_of(shape), labelled = shape.labelled > 0 ? shape.labelled : starts.back();
  StepShape some = shape;
  some.starts = {0};
  some.longest = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = i * all / rows, length = starts[row + 1] - starts[row];
    some.starts.push_back(some.starts.back() + length);
    some.longest = std::max(some.longest, length);
  }
  some.micro_tokens = some.starts.back();
  some.labelled = std::clamp<int64_t>(labelled * rows / all, 1, some.micro_tokens);
  if (shape.eval_tokens > 0) {
    some.eval_tokens = std::max<int64_t>(1, shape.eval_tokens * rows / all);
    some.eval_labelled = std::clamp<int64_t>(shape.eval_labelled * rows / all, 1, some.eval_tokens);
  }
  return some;
}

}  // namespace

Rehearsed rehearse(const StepShape& shape) {
  const int64_t rows = rows_of(shape);
  if (shape.spec.attention_softcap == 0 || rows <= 2 * kRowsTaken) return rehearse_whole(shape);
  const Rehearsed few = rehearse_whole(some_rows(shape, kRowsTaken)),
                  more = rehearse_whole(some_rows(shape, 2 * kRowsTaken));
  Rehearsed all;  // every row adds alike
  for (const auto part : {&Rehearsed::weights, &Rehearsed::asked, &Rehearsed::learned, &Rehearsed::moments,
                          &Rehearsed::paged, &Rehearsed::moving, &Rehearsed::gradients, &Rehearsed::kept,
                          &Rehearsed::forward, &Rehearsed::backward, &Rehearsed::eval, &Rehearsed::fetched}) {
    all.*part = more.*part + (more.*part - few.*part) * (rows - 2 * kRowsTaken) / kRowsTaken;
  }
  return all;
}

}  // namespace prentice

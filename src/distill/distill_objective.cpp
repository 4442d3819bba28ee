#include "distill/distill_objective.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include "config/distill_rules.h"
#include "core/error.h"
#include "distill/stored_teacher.h"
#include "objective/cross_entropy.h"
#include "objective/uld.h"

namespace prentice {

namespace {

Divergence divergence_of(DistillLoss loss) {
  switch (loss) {
    case DistillLoss::forward_kl:
      return Divergence::forward_kl;
    case DistillLoss::reverse_kl:
      return Divergence::reverse_kl;
    case DistillLoss::jsd:
      return Divergence::jsd;
    case DistillLoss::tvd:
      return Divergence::tvd;
    case DistillLoss::ce:
      return Divergence::cross_entropy;
    case DistillLoss::hidden_mse:
    case DistillLoss::hidden_cosine:
    case DistillLoss::uld:
      break;  // not read: these have distances of their own
  }
  return Divergence::forward_kl;
}

void note_mass(Metrics& metrics, const DistillShare& share) {
  if (share.top_k_mass.defined()) metrics["top_k_mass"] = share.top_k_mass;
}

// The cross-entropy of given labels as a mean over them, where a step has sampled ones beside them.
void note(Metrics& metrics, const char* name, const Tensor& distance, const Tensor& cross_entropy, const Batch& batch,
          const Counts& counts) {
  metrics[name] = distance;
  const double given = counts.tokens - counts.sampled_tokens;
  if (!batch.sampled) metrics["cross_entropy"] = cross_entropy * (counts.tokens / given);
}

}  // namespace

Distillation::Distillation(const DistillRecipe& recipe, const Opened& opened, Teacher teacher, const Model& student,
                           const ForwardOptions& forward)
    : section_(recipe.distill), student_(student), forward_(forward), vocab_(opened.tokenizer.vocab_size()) {
  if (!teacher.shape) return;
  teacher_vocab_ = teacher.tokenizer->vocab_size();
  teacher_ = load_teacher(std::move(teacher));
  if (compares_states(section_.loss)) {
    states_.emplace(section_, student.spec, teacher_->spec, static_cast<uint64_t>(recipe.run.seed),
                    opened.machine.device);
  }
}

NamedTensors Distillation::learned() const { return states_ ? states_->projections() : NamedTensors(); }

Tensor Distillation::share(const Batch& batch, const Counts& counts, Metrics& metrics) const {
  if (!teacher_) return stored_share(batch, counts, metrics);
  if (states_) return states_share(batch, counts, metrics);
  return section_.loss == DistillLoss::uld ? retold_share(batch, counts, metrics) : live_share(batch, counts, metrics);
}

double Distillation::weight_for(const Batch& batch) const { return batch.sampled ? 1.0 : *section_.weight; }

DistillOptions Distillation::options_for(const Batch& batch) const {
  return {.divergence = divergence_of(section_.loss),
          .beta = section_.beta,
          .temperature = section_.temperature,
          .weight = weight_for(batch),
          .vocab = vocab_,
          .top_k = section_.top_k.value_or(0),
          .tail = section_.tail};
}

Batch Distillation::at_teacher(const Batch& batch) const { return to_device(batch, device_of(*teacher_)); }

Tensor Distillation::live_share(const Batch& batch, const Counts& counts, Metrics& metrics) const {
  const Tensor theirs = [&] {  // first: nothing of the student's pass is in memory yet
    const c10::NoGradGuard no_grad;
    return forward_hidden(*teacher_, at_teacher(batch), {});
  }();
  const Tensor hidden = forward_hidden(student_, batch, forward_);
  const DistillShare share =
      distill_share(hidden, student_.head, student_.spec.final_softcap, batch, counts,
                    LiveTeacher{theirs, teacher_->head, teacher_->spec.final_softcap}, options_for(batch), forward_);
  note(metrics, "divergence", share.divergence, share.cross_entropy, batch, counts);
  note_mass(metrics, share);
  return share.loss;
}

Tensor Distillation::states_share(const Batch& batch, const Counts& counts, Metrics& metrics) const {
  const SeenStates theirs = [&] {
    const c10::NoGradGuard no_grad;
    return forward_states(*teacher_, at_teacher(batch), {}, states_->teacher_layers());
  }();
  const SeenStates ours = forward_states(student_, batch, forward_, states_->student_layers());
  const Tensor distance = states_->share(ours, theirs, batch, counts);
  const Tensor labels =
      cross_entropy_share(ours.hidden, student_.head, student_.spec.final_softcap, batch, counts, forward_);
  note(metrics, "hidden", distance.detach(), labels.detach(), batch, counts);
  const double weight = weight_for(batch);
  return weight == 1 ? distance : distance * weight + labels * (1 - weight);
}

Tensor Distillation::retold_share(const Batch& batch, const Counts& counts, Metrics& metrics) const {
  const Model& teacher = *teacher_;
  const Tensor hidden = forward_hidden(student_, batch, forward_);
  if (!batch.retold) {  // the teacher can hold none of these rows
    const Tensor labels =
        cross_entropy_share(hidden, student_.head, student_.spec.final_softcap, batch, counts, forward_);
    note(metrics, "divergence", at::zeros_like(labels.detach()), labels.detach(), batch, counts);
    return labels * (1 - weight_for(batch));
  }
  const Tensor theirs = [&] {
    const c10::NoGradGuard no_grad;
    return forward_hidden(teacher, at_teacher(*batch.retold), {});
  }();
  const UldTeacher view{.hidden = theirs,
                        .head = teacher.head,
                        .final_softcap = teacher.spec.final_softcap,
                        .rows = batch.retold_rows,
                        .vocab = teacher_vocab_};
  const DistillShare share =
      uld_share(hidden, student_.head, student_.spec.final_softcap, batch, counts, view, options_for(batch), forward_);
  note(metrics, "divergence", share.divergence, share.cross_entropy, batch, counts);
  return share.loss;
}

Tensor Distillation::stored_share(const Batch& batch, const Counts& counts, Metrics& metrics) const {
  const Tensor hidden = forward_hidden(student_, batch, forward_);
  const DistillOptions options = options_for(batch);
  const DistillShare share = distill_share(hidden, student_.head, student_.spec.final_softcap, batch, counts,
                                           stored_targets(batch, options.tail), options, forward_);
  note(metrics, "divergence", share.divergence, share.cross_entropy, batch, counts);
  note_mass(metrics, share);
  return share.loss;
}

}  // namespace prentice

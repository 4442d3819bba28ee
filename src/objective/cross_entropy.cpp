#include "objective/cross_entropy.h"

#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "kernels/dropout.h"
#include "kernels/matrix_product.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

c10::ScalarType softmax_type(const Tensor& rows) {
  return rows.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// a [m, k] b [k, n] in the softmax's type. A GPU hands out its f32 accumulators without rounding them.
Tensor wide_product(const Tensor& a, const Tensor& b) {
  const auto wide = softmax_type(a);
  if (a.scalar_type() == wide) return product_transposed(a, b.t());
  if (a.is_cuda()) return at::mm(a, b, wide);
  return at::mm(a, b).to(wide);
}

// What the logits of the labelled rows are made of. Everything but `bias` is in the type of the hidden states.
struct HeadInput {
  Tensor rows;    // [N, D]
  Tensor weight;  // [V, D]
  Tensor bias;    // [V] in the softmax's type, or undefined
  Tensor low;     // [N, R] rows A^T, or undefined
  Tensor up;      // [V, R] the adapter's B times its scale, or undefined
  Tensor labels;  // [N]
  double softcap = 0;
};

struct Chunk {
  int64_t begin = 0, size = 0;
};

// Equal chunks (the last may be shorter) whose logits fit; whole multiples of 64 rows where the vocabulary allows it.
std::vector<Chunk> chunks_of(const HeadInput& in, const HeadChunks& limit) {
  const int64_t bytes = limit.logit_bytes > 0 ? limit.logit_bytes : (in.rows.is_cuda() ? 256 : 64) * int64_t{1 << 20};
  const int64_t row_bytes = in.weight.size(0) * (softmax_type(in.rows) == at::kDouble ? 8 : 4);
  const int64_t total = in.rows.size(0), most = std::max<int64_t>(1, bytes / row_bytes);
  const int64_t count = (total + most - 1) / most;
  int64_t size = count == 0 ? 0 : (total + count - 1) / count;
  if (count > 1 && most >= 64) size = std::min(most / 64 * 64, (size + 63) / 64 * 64);
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < total; begin += size) chunks.push_back({begin, std::min(size, total - begin)});
  return chunks;
}

// [n, V] in the softmax's type, soft cap included.
Tensor chunk_logits(const HeadInput& in, const Chunk& chunk) {
  Tensor logits = wide_product(in.rows.narrow(0, chunk.begin, chunk.size), in.weight.t());
  if (in.low.defined()) logits.add_(wide_product(in.low.narrow(0, chunk.begin, chunk.size), in.up.t()));
  if (in.bias.defined()) logits.add_(in.bias);
  if (in.softcap > 0) logits.div_(in.softcap).tanh_().mul_(in.softcap);
  return logits;
}

// Turns logits into log-probabilities in place and returns those of the labels, [n].
Tensor take_label_log_probs(Tensor& logits, const Tensor& labels) {
  at::_log_softmax_out(logits, logits, 1, false);
  return logits.gather(1, labels.unsqueeze(1)).squeeze(1);
}

// Gradients of sum_i row_weight_i * -log p_i. Undefined where nobody asked.
struct HeadGradients {
  Tensor rows, weight, bias, low, up;
};

// d loss / d logits is row_weight * (p - onehot): the row weight is applied to the narrow side of each product.
void add_gradients(HeadGradients& grads, const HeadInput& in, const Chunk& chunk, Tensor dlogits,
                   const Tensor& weights) {
  const Tensor column = weights.unsqueeze(1);
  if (grads.bias.defined()) grads.bias.addmv_(dlogits.t(), weights);
  dlogits = dlogits.to(in.rows.scalar_type());
  const auto narrow = [&](const Tensor& t) { return t.narrow(0, chunk.begin, chunk.size); };
  if (grads.rows.defined()) narrow(grads.rows).copy_(wide_product(dlogits, in.weight).mul_(column));
  if (grads.low.defined()) narrow(grads.low).copy_(wide_product(dlogits, in.up).mul_(column));
  const auto accumulate = [&](Tensor& sum, const Tensor& side) {
    const Tensor weighted = narrow(side).to(sum.scalar_type()).mul(column).to(side.scalar_type());
    if (side.scalar_type() == sum.scalar_type()) {
      sum.addmm_(dlogits.t(), weighted);
    } else {
      sum.add_(wide_product(dlogits.t(), weighted));
    }
  };
  if (grads.weight.defined()) accumulate(grads.weight, in.rows);
  if (grads.up.defined()) accumulate(grads.up, in.low);
}

// One pass over the chunks: -log p of every label, and the gradients that are defined in `grads`.
Tensor run_chunks(const HeadInput& in, const HeadChunks& limit, const Tensor& row_weights, HeadGradients* grads) {
  Tensor losses = at::empty({in.rows.size(0)}, in.rows.options().dtype(softmax_type(in.rows)));
  for (const Chunk& chunk : chunks_of(in, limit)) {
    const Tensor labels = in.labels.narrow(0, chunk.begin, chunk.size);
    Tensor logits = chunk_logits(in, chunk);
    const Tensor capped = grads && in.softcap > 0 ? logits.clone() : Tensor();
    losses.narrow(0, chunk.begin, chunk.size).copy_(take_label_log_probs(logits, labels).neg_());
    if (!grads) continue;
    logits.exp_();
    logits.scatter_add_(1, labels.unsqueeze(1), at::full({chunk.size, 1}, -1, logits.options()));
    if (capped.defined()) logits.mul_(capped.div(in.softcap).square_().neg_().add_(1));  // d tanh
    add_gradients(*grads, in, chunk, logits, row_weights.narrow(0, chunk.begin, chunk.size));
  }
  return losses;
}

HeadInput head_input(const Tensor& rows, const Tensor& weight, const Tensor& bias, const Tensor& low, const Tensor& b,
                     double scale, const Tensor& labels, double softcap) {
  const auto type = rows.scalar_type();
  HeadInput in{.rows = rows, .weight = weight.to(type), .labels = labels, .softcap = softcap};
  if (bias.defined()) in.bias = bias.to(softmax_type(rows));
  if (low.defined()) in.low = low, in.up = b.mul(scale).to(type);
  return in;
}

struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::optional<Tensor>& low,
                        const std::optional<Tensor>& b, double scale, const Tensor& labels, const Tensor& row_weights,
                        double softcap, int64_t logit_bytes, bool with_gradients) {
    const HeadInput in = head_input(rows, weight, bias.value_or(Tensor()), low.value_or(Tensor()), b.value_or(Tensor()),
                                    scale, labels, softcap);
    const auto wide = softmax_type(rows);
    const auto wanted = [&](const std::optional<Tensor>& t) {
      return with_gradients && t.has_value() && t->defined() && t->requires_grad();
    };
    const auto sum_like = [&](const std::optional<Tensor>& t) {
      return wanted(t) ? at::zeros(t->sizes(), t->options().dtype(wide)) : Tensor();
    };
    HeadGradients grads{.weight = sum_like(weight), .bias = sum_like(bias), .up = sum_like(b)};
    if (wanted(rows)) grads.rows = at::empty(rows.sizes(), rows.options());
    if (wanted(low)) grads.low = at::empty(low->sizes(), low->options());
    const Tensor losses = run_chunks(in, {logit_bytes}, row_weights, with_gradients ? &grads : nullptr);
    if (grads.up.defined()) grads.up.mul_(scale);
    context->save_for_backward({grads.rows, grads.weight, grads.bias, grads.low, grads.up});
    // Weighted and summed in f64, so that the share does not depend on how many rows one batch has.
    return losses.to(at::kDouble).dot(row_weights.to(at::kDouble)).to(wide);
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    variable_list grads = context->get_saved_variables();
    for (Tensor& grad : grads) {
      if (grad.defined()) grad = grad.mul(upstream[0].to(grad.scalar_type()));
    }
    return {grads[0], grads[1], grads[2], grads[3], grads[4], {}, {}, {}, {}, {}, {}};
  }
};

bool adapted(const Linear& head) { return head.lora && head.lora->enabled; }

// The adapter's dropout on the labelled rows; the mask of a row is the one it has in the whole batch.
struct DroppedRows : torch::autograd::Function<DroppedRows> {
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Tensor& sample_key,
                        const Tensor& sequence_id, const Tensor& positions, const Lora& lora,
                        const ForwardOptions& options) {
    context->saved_data["seed"] = static_cast<int64_t>(options.seed);
    context->saved_data["step"] = options.step;
    context->saved_data["module"] = lora.module;
    context->saved_data["rate"] = lora.dropout;
    context->save_for_backward({sample_key, sequence_id, positions});
    return apply_dropout(rows,
                         {options.seed, options.step, lora.module, lora.dropout, sample_key, sequence_id, positions});
  }

  static variable_list backward(AutogradContext* context, variable_list upstream) {
    const auto saved = context->get_saved_variables();
    auto& data = context->saved_data;
    const DropoutKey key{static_cast<uint64_t>(data["seed"].toInt()),
                         data["step"].toInt(),
                         data["module"].toInt(),
                         data["rate"].toDouble(),
                         saved[0],
                         saved[1],
                         saved[2]};
    return {apply_dropout(upstream[0], key), {}, {}, {}, {}, {}};
  }
};

// dropout(rows) A^T, [N, R]; differentiable.
Tensor low_rank_rows(const Tensor& rows, const Lora& lora, const Batch& batch, const ForwardOptions& options) {
  Tensor input = rows;
  if (options.training && lora.dropout > 0) {
    input = DroppedRows::apply(rows, batch.sample_key, at::index_select(batch.sequence_id, 0, batch.target_rows),
                               at::index_select(batch.positions, 0, batch.target_rows), lora, options);
  }
  return at::mm(input, lora.a.to(input.scalar_type()).t());
}

}  // namespace

Tensor cross_entropy_share(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                           const Counts& counts, const ForwardOptions& options, const HeadChunks& chunks) {
  if (!(counts.tokens > 0)) fail(ExitCode::internal, "cross-entropy: the step counts no target tokens");
  const Tensor rows = at::index_select(hidden, 0, batch.target_rows);
  // A padded row carries weight 0 and may carry no label: any valid index will do.
  const Tensor labels = at::index_select(batch.labels, 0, batch.target_rows).clamp_min_(0);
  const Tensor row_weights =
      at::index_select(batch.weights, 0, batch.target_rows).to(at::kDouble).div_(counts.tokens).to(softmax_type(rows));
  std::optional<Tensor> low, b, bias;
  if (adapted(head)) low = low_rank_rows(rows, *head.lora, batch, options), b = head.lora->b;
  if (head.bias.defined()) bias = head.bias;
  const Tensor& weight = dense_weight(head);
  const auto trains = [](const std::optional<Tensor>& t) { return t && t->requires_grad(); };
  const bool with_gradients =
      at::GradMode::is_enabled() && (trains(rows) || trains(weight) || trains(bias) || trains(low) || trains(b));
  return CrossEntropy::apply(rows, weight, bias, low, b, adapted(head) ? head.lora->scale : 1.0, labels, row_weights,
                             final_softcap, chunks.logit_bytes, with_gradients);
}

Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Batch& batch,
                       const HeadChunks& chunks) {
  const at::NoGradGuard no_grad;
  const Tensor labels = at::index_select(batch.labels, 0, batch.target_rows).clamp_min_(0);
  return label_log_probs(hidden, head, final_softcap, batch.target_rows, labels, chunks);
}

Tensor label_log_probs(const Tensor& hidden, const Linear& head, double final_softcap, const Tensor& rows,
                       const Tensor& labels, const HeadChunks& chunks) {
  const at::NoGradGuard no_grad;
  const Tensor taken = at::index_select(hidden, 0, rows);
  Tensor low, b;
  if (adapted(head)) low = at::mm(taken, head.lora->a.to(taken.scalar_type()).t()), b = head.lora->b;
  const HeadInput in = head_input(taken, dense_weight(head), head.bias, low, b, adapted(head) ? head.lora->scale : 1.0,
                                  labels, final_softcap);
  return run_chunks(in, chunks, Tensor(), nullptr).neg_();
}

}  // namespace prentice

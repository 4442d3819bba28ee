#include "objective/head.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "core/error.h"
#include "core/host_copies.h"
#include "core/wide_type.h"
#include "kernels/dropout.h"
#include "kernels/matrix_product.h"
#include "nn/dora.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// a [m, k] b [k, n] in the softmax's type. A GPU hands out its f32 accumulators without rounding them.
Tensor wide_product(const Tensor& a, const Tensor& b) {
  const auto wide = wide_type(a);
  if (a.scalar_type() == wide) return product_transposed(a, b.t());
  if (a.is_cuda()) return at::mm(a, b, wide);
  return at::mm(a, b).to(wide);
}

// The input in the types that products are taken in.
struct Operands {
  Tensor rows, weight, low;          // in the type of the hidden states
  Tensor up;                         // [V, R] B times its scale, likewise
  Tensor bias;                       // in the softmax's type
  std::optional<GgufBlocks> blocks;  // in place of the weight
};

// Of a head in blocks so many values are there at a time.
constexpr int64_t kSliceValues = int64_t{1} << 24;

// use(first, W of rows [first, first + count)) for slices of a head in blocks, in order.
template <class Use>
void visit_slices(const GgufBlocks& blocks, c10::ScalarType type, Use&& use) {
  const int64_t step = std::max<int64_t>(1, kSliceValues / blocks.columns);
  for (int64_t first = 0; first < blocks.rows; first += step) {
    use(first, dequantized(rows_of(blocks, first, std::min(step, blocks.rows - first)), type));
  }
}

// x W^T, [n, V] in the softmax's type.
Tensor times_weight_transposed(const Operands& of, const Tensor& x) {
  if (!of.blocks) return wide_product(x, of.weight.t());
  Tensor logits = at::empty({x.size(0), of.blocks->rows}, x.options().dtype(wide_type(x)));
  visit_slices(*of.blocks, x.scalar_type(), [&](int64_t first, const Tensor& weight) {
    logits.narrow(1, first, weight.size(0)).copy_(wide_product(x, weight.t()));
  });
  return logits;
}

// d W, [n, D] in the softmax's type.
Tensor times_weight(const Operands& of, const Tensor& d) {
  if (!of.blocks) return wide_product(d, of.weight);
  Tensor sum = at::zeros({d.size(0), of.blocks->columns}, d.options().dtype(wide_type(d)));
  visit_slices(*of.blocks, d.scalar_type(), [&](int64_t first, const Tensor& weight) {
    sum.add_(wide_product(d.narrow(1, first, weight.size(0)), weight));
  });
  return sum;
}

Operands operands(const HeadInput& in) {
  const auto type = in.rows.scalar_type();
  Operands made{.rows = in.rows, .blocks = in.blocks};
  if (!in.blocks) made.weight = on_device(in.weight, in.rows.device()).to(type);  // from the host, if it waits there
  if (in.bias.defined()) made.bias = in.bias.to(wide_type(in.rows));
  if (in.low.defined()) made.low = in.low, made.up = in.b.mul(in.scale).to(type);
  return made;
}

// Equal chunks (the last may be shorter) whose logits fit; whole multiples of 64 rows where the vocabulary allows it.
std::vector<Chunk> chunks_of(const HeadInput& in, const HeadChunks& limit) {
  const int64_t bytes = limit.logit_bytes > 0 ? limit.logit_bytes : default_logit_bytes(in.rows.is_cuda());
  const int64_t row_bytes = in.vocab() * (wide_type(in.rows) == at::kDouble ? 8 : 4);
  const int64_t total = in.rows.size(0), most = std::max<int64_t>(1, bytes / row_bytes);
  const int64_t count = (total + most - 1) / most;
  int64_t size = count == 0 ? 0 : (total + count - 1) / count;
  if (count > 1 && most >= 64) size = std::min(most / 64 * 64, (size + 63) / 64 * 64);
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < total; begin += size) chunks.push_back({begin, std::min(size, total - begin)});
  return chunks;
}

// [n, V] in the softmax's type, soft cap included.
Tensor chunk_logits(const Operands& of, double softcap, const Chunk& chunk) {
  Tensor logits = times_weight_transposed(of, of.rows.narrow(0, chunk.begin, chunk.size));
  if (of.low.defined()) logits.add_(wide_product(of.low.narrow(0, chunk.begin, chunk.size), of.up.t()));
  if (of.bias.defined()) logits.add_(of.bias);
  if (softcap > 0) logits.div_(softcap).tanh_().mul_(softcap);
  return logits;
}

void add_gradients(HeadGradients& grads, const Operands& of, const Chunk& chunk, const ChunkGradient& found) {
  const Tensor column = found.row_weights.unsqueeze(1);
  if (grads.bias.defined()) grads.bias.addmv_(found.logits.t(), found.row_weights);
  const Tensor dlogits = found.logits.to(of.rows.scalar_type());
  const auto narrow = [&](const Tensor& t) { return t.narrow(0, chunk.begin, chunk.size); };
  if (grads.rows.defined()) narrow(grads.rows).copy_(times_weight(of, dlogits).mul_(column));
  if (grads.low.defined()) narrow(grads.low).copy_(wide_product(dlogits, of.up).mul_(column));
  const auto accumulate = [&](Tensor& sum, const Tensor& side) {
    const Tensor weighted = narrow(side).to(sum.scalar_type()).mul(column).to(side.scalar_type());
    if (side.scalar_type() == sum.scalar_type()) {
      sum.addmm_(dlogits.t(), weighted);
    } else {
      sum.add_(wide_product(dlogits.t(), weighted));
    }
  };
  if (grads.weight.defined()) accumulate(grads.weight, of.rows);
  if (grads.b.defined()) accumulate(grads.b, of.low);
}

// The factors beside the head's weight; without the adapter, those that give PiSSA's base back what was taken off it.
const Tensor& head_a(const Lora& lora) { return lora.enabled ? lora.a : lora.first_a; }
const Tensor& head_b(const Lora& lora) { return lora.enabled ? lora.b : lora.first_b; }

bool adapted(const Linear& head) { return head.lora && head_a(*head.lora).defined(); }

// dropout(rows) A^T, [N, R]; differentiable.
Tensor low_rank_rows(const Tensor& rows, const Lora& lora, const Batch& batch, const ForwardOptions& options) {
  Tensor input = rows;
  if (options.training && lora.dropout > 0 && lora.enabled) {
    // The mask of a row is the one it has in the whole batch.
    input = dropout(rows, {.seed = options.seed,
                           .step = options.step,
                           .module = lora.module,
                           .rate = lora.dropout,
                           .sample_key = batch.sample_key,
                           .sequence_id = at::index_select(batch.sequence_id, 0, batch.target_rows),
                           .positions = at::index_select(batch.positions, 0, batch.target_rows)});
  }
  return at::mm(input, head_a(lora).to(input.scalar_type()).t());
}

HeadInput input_without_low(const Tensor& rows, const Linear& head, double softcap, const Tensor& labels) {
  HeadInput in{.rows = rows, .bias = head.bias, .labels = labels, .softcap = softcap};
  if (is_quantized(head)) {
    in.blocks = std::get<GgufBlocks>(head.weight);
  } else {
    in.weight = dense_weight(head);
  }
  if (!adapted(head)) return in;
  in.b = head_b(*head.lora), in.scale = head.lora->scale;
  if (head.lora->enabled && head.lora->magnitude.defined()) {  // rows of whatever lengths are the gain's own
    const Tensor gain = dora_gain(head).unsqueeze(1);
    in.weight = weight_values(head).mul(gain), in.b = in.b.mul(gain);
    in.blocks.reset();
  }
  return in;
}

}  // namespace

int64_t default_logit_bytes(bool gpu) { return int64_t{gpu ? 256 : 64} << 20; }

std::optional<Tensor> optional(const Tensor& tensor) { return tensor.defined() ? std::optional(tensor) : std::nullopt; }

HeadInput labelled_rows(const Tensor& hidden, const Linear& head, double softcap, const Batch& batch,
                        const ForwardOptions& options) {
  const Tensor rows = at::index_select(hidden, 0, batch.target_rows);
  const Tensor labels = at::index_select(batch.labels, 0, batch.target_rows).clamp_min_(0);
  HeadInput in = input_without_low(rows, head, softcap, labels);
  if (adapted(head)) in.low = low_rank_rows(rows, *head.lora, batch, options);
  return in;
}

HeadInput chosen_rows(const Tensor& hidden, const Linear& head, double softcap, const Tensor& rows,
                      const Tensor& labels) {
  const Tensor taken = at::index_select(hidden, 0, rows);
  HeadInput in = input_without_low(taken, head, softcap, labels);
  if (adapted(head)) in.low = at::mm(taken, head_a(*head.lora).to(taken.scalar_type()).t());
  return in;
}

HeadInput cut_to_vocabulary(HeadInput in, int64_t vocab) {
  if (in.vocab() < vocab) {
    fail(ExitCode::internal, fmt::format("the head has {} rows, fewer than the vocabulary's {}", in.vocab(), vocab));
  }
  if (in.blocks) in.blocks = rows_of(*in.blocks, 0, vocab);
  for (Tensor* t : {&in.weight, &in.bias, &in.b}) {
    if (!t->defined() || t->size(0) == vocab) continue;
    *t = t->narrow(0, 0, vocab);
  }
  return in;
}

HeadGradients gradients_wanted(const HeadInput& in) {
  const auto wanted = [](const Tensor& t) { return t.defined() && t.requires_grad(); };
  const auto sum_like = [&](const Tensor& t) {
    return wanted(t) ? at::zeros(t.sizes(), t.options().dtype(wide_type(in.rows))) : Tensor();
  };
  HeadGradients grads{.weight = sum_like(in.weight), .bias = sum_like(in.bias), .b = sum_like(in.b)};
  if (wanted(in.rows)) grads.rows = at::empty(in.rows.sizes(), in.rows.options());
  if (wanted(in.low)) grads.low = at::empty(in.low.sizes(), in.low.options());
  return grads;
}

void visit_chunks(const HeadInput& in, const HeadChunks& limit, HeadGradients* grads, const ChunkVisitor& visitor) {
  const Operands of = operands(in);
  for (const Chunk& chunk : chunks_of(in, limit)) {
    Tensor logits = chunk_logits(of, in.softcap, chunk);
    const Tensor capped = grads && in.softcap > 0 ? logits.clone() : Tensor();
    const ChunkGradient found = visitor(chunk, logits);
    if (!grads) continue;
    if (capped.defined()) found.logits.mul_(capped.div(in.softcap).square_().neg_().add_(1));  // d tanh
    add_gradients(*grads, of, chunk, found);
  }
  if (grads && grads->b.defined()) grads->b.mul_(in.scale);
}

LogitsOfRows logits_of_rows(const HeadInput& in) {
  return [of = operands(in), softcap = in.softcap](const Chunk& chunk) { return chunk_logits(of, softcap, chunk); };
}

Tensor label_losses(const HeadInput& in, const HeadChunks& limit, const Tensor& row_weights, HeadGradients* grads) {
  Tensor losses = at::empty({in.rows.size(0)}, in.rows.options().dtype(wide_type(in.rows)));
  visit_chunks(in, limit, grads, [&](const Chunk& chunk, Tensor& logits) -> ChunkGradient {
    const auto narrow = [&](const Tensor& t) { return t.narrow(0, chunk.begin, chunk.size); };
    narrow(losses).copy_(label_losses(narrow(in.labels), logits, grads != nullptr));
    return grads ? ChunkGradient{logits, narrow(row_weights)} : ChunkGradient{};
  });
  return losses;
}

}  // namespace prentice

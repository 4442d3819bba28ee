// The vocabulary head over chosen rows in chunks, so that [T, V] is never made: what logits are made of (weight, bias,
// soft cap, a low-rank adapter with its dropout), and the way of a gradient of logits back to each of these. Separate
// from the losses, which only say what they want of a chunk's logits.
#pragma once

#include <functional>
#include <optional>

#include "core/batch.h"
#include "core/tensor.h"
#include "kernels/label_losses.h"
#include "nn/linear.h"

namespace prentice {

// Bytes that the logits of one chunk may take: 64 MiB on a CPU, 256 MiB on a GPU.
int64_t default_logit_bytes(bool gpu);

struct HeadChunks {
  int64_t logit_bytes = 0;  // 0 = default_logit_bytes
};

// What the logits of N rows are made of: rows W^T + bias + scale low B^T, then c * tanh(z / c) when softcap c is above
// 0. A differentiable operation over the head takes the first five as its inputs.
struct HeadInput {
  Tensor rows;    // [N, D] hidden states
  Tensor weight;  // [V, D], on the device or the host; undefined where it is held in blocks
  Tensor bias;    // [V] or undefined
  Tensor low;     // [N, R] dropout(rows) A^T, or undefined
  Tensor b;       // [V, R] or undefined
  double scale = 1;
  Tensor labels;  // [N] int64
  double softcap = 0;
  std::optional<GgufBlocks> blocks;  // the weight, frozen: dequantized slice by slice

  int64_t vocab() const { return blocks ? blocks->rows : weight.size(0); }
};

// An autograd function takes a tensor that may be undefined as an optional.
std::optional<Tensor> optional(const Tensor& tensor);

// The rows of `hidden` [T, D] that have a label, in the order of batch.target_rows; differentiable. A padded row
// carries no label and gets label 0. `options` drive the dropout of the adapter.
HeadInput labelled_rows(const Tensor& hidden, const Linear& head, double softcap, const Batch&,
                        const ForwardOptions& options);
// The rows `rows` [N] of `hidden` with labels [N], where there is no batch and no dropout.
HeadInput chosen_rows(const Tensor& hidden, const Linear& head, double softcap, const Tensor& rows,
                      const Tensor& labels);

// The head of `vocab` rows: those behind, with which a vocabulary is padded, take no part.
HeadInput cut_to_vocabulary(HeadInput, int64_t vocab);

// Gradients of the five tensors of HeadInput; those that nobody asked for stay undefined. `weight`, `bias` and `b` are
// summed over chunks in the softmax's type.
struct HeadGradients {
  Tensor rows, weight, bias, low, b;
};
// Room for the gradients of those tensors that require one.
HeadGradients gradients_wanted(const HeadInput&);

struct Chunk {
  int64_t begin = 0, size = 0;  // rows
};

// d loss / d logits = row_weights * logits: the factor of each row is applied where the products are narrow.
struct ChunkGradient {
  Tensor logits;       // [n, V]
  Tensor row_weights;  // [n]
};
// Sees the soft-capped logits [n, V] of one chunk, which it may overwrite, and says their gradient (nothing when no
// gradients are asked for).
using ChunkVisitor = std::function<ChunkGradient(const Chunk&, Tensor& logits)>;

// Calls `visitor` for the chunks in order and adds what follows from its gradients to `grads`, unless that is null.
void visit_chunks(const HeadInput&, const HeadChunks&, HeadGradients* grads, const ChunkVisitor& visitor);

// Soft-capped logits [n, V] of any rows, for a second head that is read beside the visited one (a teacher's); what
// the products need is made once.
using LogitsOfRows = std::function<Tensor(const Chunk&)>;
LogitsOfRows logits_of_rows(const HeadInput&);

// -log p(label) of every row, [N] in the softmax's type; with `grads` also the gradients of
// sum_i row_weights_i * -log p_i.
Tensor label_losses(const HeadInput&, const HeadChunks&, const Tensor& row_weights = {},
                    HeadGradients* grads = nullptr);

}  // namespace prentice

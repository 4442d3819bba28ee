// One decoder block and the embedding before it: what decoder.h strings together.
#pragma once

#include <functional>
#include <memory>

#include "model/model.h"
#include "model/rope_table.h"
#include "nn/attention.h"
#include "nn/offloaded.h"

namespace prentice {

// ids [T] -> [T, D]; host_ids as in DecoderPass
Tensor embed_tokens(const Model&, const Tensor& ids, const Tensor& host_ids);

// What differs between a flat batch and a cached sequence. With recomputation it is called again in the backward pass,
// and owns what it uses.
struct BlockContext {
  std::function<Tensor(const Linear&, const Tensor&)> linear;
  std::function<std::vector<Tensor>(const Projection&, const Tensor&)> project;
  // q [T, H, E], k and v [T, K, E], rotated -> [T, H * E]
  std::function<Tensor(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions&)> attend;
  bool recompute_mlp = false;                  // the part behind attention keeps only its input,
  std::shared_ptr<OffloadedInputs> offloaded;  // and this there, if given
};

// x [T, D] -> [T, D]: sequential, parallel or with norms after the parts, as the spec says.
Tensor run_block(const ModelSpec&, const LayerSpec&, const Layer&, const Tensor& x, const RopeTable&,
                 const BlockContext&);

// Every tensor of the layer that requires a gradient, adapters included.
std::vector<Tensor> trained_tensors(const Layer&);

}  // namespace prentice

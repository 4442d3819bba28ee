// The one walk through the decoder's layers. Training, generation with a cache and the scoring of token trees differ in
// what a DecoderPass says.
#pragma once

#include <functional>
#include <vector>

#include "model/model.h"
#include "model/rope_table.h"
#include "nn/attention.h"

namespace prentice {

struct DecoderPass {
  Tensor ids;          // [T]
  Tensor host_ids;     // the same on the host; undefined: the device is asked where they are needed
  RotaryInput rotary;  // of the same tokens
  // q [T, H, E], k and v [T, K, E], rotated, of layer `index` -> [T, H * E]
  std::function<Tensor(size_t index, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions&)>
      attend;
  // Products of the layers; as they are here, without dropout.
  std::function<Tensor(const Linear&, const Tensor&)> linear = [](const Linear& layer, const Tensor& x) {
    return prentice::linear(layer, x);
  };
  std::function<std::vector<Tensor>(const Projection&, const Tensor&)> project =
      [](const Projection& layer, const Tensor& x) { return prentice::project(layer, x); };
  LayerTap see_layer = {};                      // [T, D] behind every block
  Recomputed recomputed = Recomputed::nothing;  // as in ForwardOptions
  bool offload = false;
};

// -> [T, D] after the final norm. With recomputation the backward pass calls the functions again: they own what they
// use, and the model outlives the graph.
Tensor run_decoder(const Model&, const DecoderPass&);

}  // namespace prentice

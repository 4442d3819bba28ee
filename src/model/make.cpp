#include "model/make.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

namespace prentice {

namespace {

struct Maker {
  const ModelSpec& spec;
  at::TensorOptions options;

  Linear linear(std::string name, int64_t in, int64_t out, bool bias, Tensor weight) const {
    Linear linear{.name = std::move(name), .weight = Dense{std::move(weight)}, .in_features = in, .out_features = out};
    if (bias) linear.bias = at::empty({out}, options);
    return linear;
  }

  Linear linear(std::string name, int64_t in, int64_t out, bool bias) const {
    return linear(std::move(name), in, out, bias, at::empty({out, in}, options));
  }

  struct Part {
    std::string name;
    int64_t out;
  };
  Projection projection(const std::string& prefix, int64_t in, const std::vector<Part>& parts, bool bias) const {
    int64_t total = 0;
    for (const auto& part : parts) total += part.out;
    Projection projection{.joined = at::empty({total, in}, options)};
    int64_t row = 0;
    for (const auto& part : parts) {
      projection.parts.push_back(
          linear(prefix + part.name, in, part.out, bias, projection.joined.narrow(0, row, part.out)));
      row += part.out;
    }
    return projection;
  }

  Norm norm(std::string name) const {
    Norm norm{.name = std::move(name),
              .weight = at::empty({spec.hidden}, options),
              .eps = spec.norm_eps,
              .offset = spec.norm_offset,
              .centred = spec.norm == NormKind::layer};
    if (spec.norm == NormKind::layer) norm.bias = at::empty({spec.hidden}, options);
    return norm;
  }

  Layer layer(int64_t index) const {
    const std::string prefix = fmt::format("model.layers.{}.", index);
    const int64_t queries = spec.heads * spec.head_dim, keys = spec.kv_heads * spec.head_dim;
    Layer layer;
    layer.input_norm = norm(prefix + "input_layernorm");
    layer.qkv = projection(prefix + "self_attn.", spec.hidden,
                           {{"q_proj", queries}, {"k_proj", keys}, {"v_proj", keys}}, spec.qkv_bias);
    layer.o = linear(prefix + "self_attn.o_proj", queries, spec.hidden, spec.o_bias);
    if (spec.block == BlockKind::sequential) layer.mlp_norm = norm(prefix + "post_attention_layernorm");
    layer.gate_up = projection(prefix + "mlp.", spec.hidden,
                               {{"gate_proj", spec.feed_forward}, {"up_proj", spec.feed_forward}}, spec.mlp_bias);
    layer.down = linear(prefix + "mlp.down_proj", spec.feed_forward, spec.hidden, spec.mlp_bias);
    return layer;
  }
};

}  // namespace

Model make_model(const ModelSpec& spec, const LoadOptions& load) {
  const Maker maker{spec, at::TensorOptions(load.dtype).device(load.device)};
  Model model{.spec = spec};
  model.embed = at::empty({spec.vocab, spec.hidden}, maker.options);
  for (int64_t i = 0; i < spec.layers; ++i) model.layers.push_back(maker.layer(i));
  model.final_norm = maker.norm("model.norm");
  model.head = spec.tied_head ? maker.linear("lm_head", spec.hidden, spec.vocab, spec.head_bias, model.embed)
                              : maker.linear("lm_head", spec.hidden, spec.vocab, spec.head_bias);
  return model;
}

}  // namespace prentice

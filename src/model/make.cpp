#include "model/make.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "core/host_copies.h"

namespace prentice {

namespace {

struct LayerAllocator {
  const ModelSpec& spec;
  at::TensorOptions options;
  Quantize quantize;

  Linear linear(std::string name, int64_t in, int64_t out, bool bias, Tensor weight) const {
    Linear linear{.name = std::move(name), .weight = Dense{std::move(weight)}, .in_features = in, .out_features = out};
    if (bias) linear.bias = at::empty({out}, options);
    return linear;
  }

  // The matrix `tensor` where the file has it in blocks.
  std::optional<GgufBlocks> blocks(const std::string& tensor, int64_t rows, int64_t columns) const {
    const auto found = quantize == Quantize::gguf ? spec.blocks.find(tensor) : spec.blocks.end();
    if (found == spec.blocks.end()) return std::nullopt;
    return make_gguf_blocks(rows, columns, found->second, options);
  }

  bool is_dense(const std::string& name) const {
    if (quantize == Quantize::gguf) return !spec.blocks.contains(name + ".weight");
    return quantize == Quantize::none;
  }

  // Of a layer.
  Linear linear(std::string name, int64_t in, int64_t out, bool bias) const {
    if (is_dense(name)) return linear(std::move(name), in, out, bias, at::empty({out, in}, options));
    Linear made = linear(std::move(name), in, out, bias, {});
    if (auto held = blocks(made.name + ".weight", out, in)) {
      made.weight = std::move(*held);
    } else {
      made.weight = make_nf4(out, in, quantize == Quantize::nf4, options);
    }
    return made;
  }

  // One name is a fused module that holds the rows of all widths.
  Projection projection(const std::string& prefix, const std::vector<std::string>& names, int64_t in,
                        const std::vector<int64_t>& widths, bool bias) const {
    const int64_t total = std::accumulate(widths.begin(), widths.end(), int64_t{0});
    if (names.size() == 1) {
      Projection projection;
      projection.parts.push_back(linear(prefix + names[0], in, total, bias));
      if (widths.size() > 1) projection.widths = widths;
      return projection;
    }
    if (!std::ranges::all_of(names, [&](const auto& name) { return is_dense(prefix + name); })) {
      Projection projection;
      for (size_t i = 0; i < widths.size(); ++i) {
        projection.parts.push_back(linear(prefix + names.at(i), in, widths[i], bias));
      }
      return projection;
    }
    Projection projection{.joined = at::empty({total, in}, options)};
    int64_t row = 0;
    for (size_t i = 0; i < widths.size(); ++i) {
      projection.parts.push_back(
          linear(prefix + names.at(i), in, widths[i], bias, projection.joined.narrow(0, row, widths[i])));
      row += widths[i];
    }
    return projection;
  }

  Norm norm(std::string name, int64_t width, NormKind kind, bool bias) const {
    Norm norm{.name = std::move(name),
              .weight = at::empty({width}, options),
              .eps = spec.norm_eps,
              .offset = spec.norm_offset,
              .centred = kind == NormKind::layer};
    if (bias) norm.bias = at::empty({width}, options);
    return norm;
  }

  Norm norm(std::string name) const {
    return norm(std::move(name), spec.hidden, spec.norm, spec.norm == NormKind::layer);
  }

  std::optional<Norm> optional_norm(const std::string& prefix, const std::string& name) const {
    return name.empty() ? std::nullopt : std::optional(norm(prefix + name));
  }

  std::vector<Norm> head_norms(const std::string& prefix, const std::string& name, int64_t heads) const {
    std::vector<Norm> norms;
    if (!spec.head_norm) return norms;
    for (int64_t i = 0; i < (spec.head_norm->each_head ? heads : 1); ++i) {
      std::string own = name;
      if (const size_t place = own.find("{}"); place != own.npos) own.replace(place, 2, std::to_string(i));
      norms.push_back(norm(prefix + own, spec.head_dim, spec.head_norm->kind, spec.head_norm->bias));
    }
    return norms;
  }

  Layer layer(int64_t index) const {
    const ModuleNames& names = spec.names;
    const std::string prefix = fmt::format("{}{}.", names.layers, index);
    const int64_t queries = spec.heads * spec.head_dim, keys = spec.kv_heads * spec.head_dim;
    const std::vector<int64_t> mlp_widths(spec.gated_mlp ? 2 : 1, spec.feed_forward);
    Layer layer;
    layer.input_norm = norm(prefix + names.input_norm);
    layer.qkv = projection(prefix, names.qkv, spec.hidden, {queries, keys, keys}, spec.qkv_bias);
    layer.query_norms = head_norms(prefix, names.query_norm, spec.heads);
    layer.key_norms = head_norms(prefix, names.key_norm, spec.kv_heads);
    layer.o = linear(prefix + names.o, queries, spec.hidden, spec.o_bias);
    layer.attention_output_norm = optional_norm(prefix, names.attention_output_norm);
    if (spec.block == BlockKind::sequential) layer.mlp_norm = norm(prefix + names.mlp_norm);
    layer.gate_up = projection(prefix, names.gate_up, spec.hidden, mlp_widths, spec.mlp_bias);
    layer.down = linear(prefix + names.down, spec.feed_forward, spec.hidden, spec.mlp_bias);
    layer.mlp_output_norm = optional_norm(prefix, names.mlp_output_norm);
    return layer;
  }
};

}  // namespace

Model make_model(const ModelSpec& spec, const LoadOptions& load) {
  const LayerAllocator allocator{spec, at::TensorOptions(load.dtype).device(load.device), load.quantize};
  Model model{.spec = spec};
  const auto end = [&](int64_t rows, bool waits) {
    return waits ? empty_on_host({rows, spec.hidden}, load.dtype, load.device)
                 : at::empty({rows, spec.hidden}, allocator.options);
  };
  model.embed_blocks = allocator.blocks(spec.names.embed + ".weight", spec.vocab, spec.hidden);
  if (!model.embed_blocks) model.embed = end(spec.vocab, load.host_ends.embed);
  for (int64_t i = 0; i < spec.layers; ++i) model.layers.push_back(allocator.layer(i));
  model.final_norm = allocator.norm(spec.names.final_norm);
  const std::string& head = spec.names.head;
  const int64_t rows = spec.labels > 0 ? spec.labels : spec.vocab;
  const auto held = spec.tied_head ? model.embed_blocks : allocator.blocks(head + ".weight", rows, spec.hidden);
  const bool own = !spec.tied_head && !held;
  model.head =
      allocator.linear(head, spec.hidden, rows, spec.head_bias, own ? end(rows, load.host_ends.head) : model.embed);
  if (held) model.head.weight = *held;
  return model;
}

}  // namespace prentice

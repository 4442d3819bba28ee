#include "eval/trie.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <limits>
#include <map>
#include <utility>

#include "core/error.h"
#include "model/block.h"
#include "nn/norm.h"
#include "objective/cross_entropy.h"

namespace prentice {

namespace {

// A tree in the flat stream: its prompt, then its nodes.
struct Segment {
  int64_t begin = 0, prompt = 0, nodes = 0;
  Tensor ancestors;                 // [nodes, nodes] bool: the column's node is the row's ancestor or itself
  Tensor positions;                 // [prompt + nodes] int64
  std::map<int64_t, Tensor> masks;  // by window: [nodes, prompt + nodes] bool, true = visible
};

std::vector<int64_t> positions_of(const TokenTree& tree) {
  std::vector<int64_t> positions;
  const auto prompt = static_cast<int64_t>(tree.prompt.size());
  for (int64_t i = 0; i < prompt; ++i) positions.push_back(i);
  for (const int32_t parent : tree.parents) {
    positions.push_back(parent == kPromptEnd ? prompt : positions[static_cast<size_t>(prompt + parent)] + 1);
  }
  return positions;
}

Tensor ancestors_of(const TokenTree& tree) {
  const auto count = static_cast<int64_t>(tree.ids.size());
  Tensor matrix = at::zeros({count, count}, at::kBool);
  bool* rows = matrix.mutable_data_ptr<bool>();
  for (int64_t node = 0; node < count; ++node) {
    for (int64_t at = node; at != kPromptEnd; at = tree.parents[static_cast<size_t>(at)])
      rows[node * count + at] = true;
  }
  return matrix;
}

const Tensor& mask_of(Segment& segment, int64_t window) {
  Tensor& mask = segment.masks[window];
  if (mask.defined()) return mask;
  const Tensor before = at::ones({segment.nodes, segment.prompt}, segment.ancestors.options());
  mask = at::cat({before, segment.ancestors}, 1);
  if (window > 0) {
    const Tensor own = segment.positions.narrow(0, segment.prompt, segment.nodes).unsqueeze(1);
    mask = mask.logical_and((own - segment.positions.unsqueeze(0)).lt(window));
  }
  return mask;
}

// q [L, H, E], k and v [N, K, E], visible [L, N] -> [L, H * E]
Tensor masked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& visible,
                        const AttentionOptions& how) {
  const bool grouped = q.size(1) != k.size(1);
  const auto by_head = [](const Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  if (how.softcap <= 0) {
    return at::scaled_dot_product_attention(by_head(q), by_head(k), by_head(v), visible, 0.0, false, how.scale, grouped)
        .squeeze(0)
        .transpose(0, 1)
        .flatten(1);
  }
  const auto wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t group = q.size(1) / k.size(1);
  const Tensor keys = k.repeat_interleave(group, 1).transpose(0, 1),
               values = v.repeat_interleave(group, 1).transpose(0, 1);
  Tensor scores = at::matmul(q.transpose(0, 1), keys.transpose(1, 2)).to(wide) * how.scale;
  scores = at::tanh(scores / how.softcap) * how.softcap;
  scores.masked_fill_(visible.logical_not(), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(scores, -1).to(v.scalar_type()), values).transpose(0, 1).flatten(1);
}

Tensor attend(std::vector<Segment>& segments, const Tensor& q, const Tensor& k, const Tensor& v,
              const AttentionOptions& how) {
  std::vector<Tensor> results;
  for (Segment& segment : segments) {
    const auto part = [&](const Tensor& x, int64_t from, int64_t size) {
      return x.narrow(0, segment.begin + from, size);
    };
    const int64_t prompt = segment.prompt, nodes = segment.nodes;
    results.push_back(attention_cached(part(q, 0, prompt), part(k, 0, prompt), part(v, 0, prompt), how));
    if (nodes == 0) continue;
    results.push_back(masked_attention(part(q, prompt, nodes), part(k, 0, prompt + nodes), part(v, 0, prompt + nodes),
                                       mask_of(segment, how.window), how));
  }
  return at::cat(results, 0);
}

// [sum of sizes, D], after the final norm
Tensor forward_trees(const Model& model, const std::vector<TokenTree>& trees) {
  const auto device = model.embed.device();
  std::vector<Segment> segments;
  std::vector<int64_t> ids, positions;
  for (const TokenTree& tree : trees) {
    const auto own = positions_of(tree);
    segments.push_back({.begin = static_cast<int64_t>(ids.size()),
                        .prompt = static_cast<int64_t>(tree.prompt.size()),
                        .nodes = static_cast<int64_t>(tree.ids.size()),
                        .ancestors = ancestors_of(tree).to(device),
                        .positions = at::tensor(own).to(device)});
    ids.insert(ids.end(), tree.prompt.begin(), tree.prompt.end());
    ids.insert(ids.end(), tree.ids.begin(), tree.ids.end());
    positions.insert(positions.end(), own.begin(), own.end());
  }
  const BlockContext context{.linear = [](const Linear& layer, const Tensor& in) { return linear(layer, in); },
                             .project = [](const Projection& layer, const Tensor& in) { return project(layer, in); },
                             .attend = [&](const Tensor& q, const Tensor& k, const Tensor& v,
                                           const AttentionOptions& how) { return attend(segments, q, k, v, how); }};
  const ModelSpec& spec = model.spec;
  Tensor x = embed_tokens(model, at::tensor(ids).to(device));
  const auto tables = rope_tables(spec, at::tensor(positions).to(device), x.scalar_type());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    x = run_block(spec, spec.layer[i], model.layers[i], x, tables[static_cast<size_t>(spec.layer[i].rope)], context);
  }
  return normalize(model.final_norm, x);
}

}  // namespace

TokenTree build_tree(std::vector<int32_t> prompt, const std::vector<std::vector<int32_t>>& answers) {
  if (prompt.empty()) fail(ExitCode::internal, "a token tree needs a prompt");
  TokenTree tree{.prompt = std::move(prompt)};
  std::map<std::pair<int32_t, int32_t>, int32_t> edges,
      nodes;  // by (place, token): index of the edge, of the node behind it
  for (const auto& answer : answers) {
    auto& path = tree.paths.emplace_back();
    int32_t place = kPromptEnd;
    for (size_t i = 0; i < answer.size(); ++i) {
      const std::pair key{place, answer[i]};
      const auto [edge, is_new] = edges.try_emplace(key, static_cast<int32_t>(tree.edges.size()));
      if (is_new) tree.edges.push_back({place, answer[i]});
      path.push_back(edge->second);
      if (i + 1 == answer.size()) break;
      const auto [node, is_new_node] = nodes.try_emplace(key, static_cast<int32_t>(tree.ids.size()));
      if (is_new_node) tree.ids.push_back(answer[i]), tree.parents.push_back(place);
      place = node->second;
    }
  }
  return tree;
}

Tensor edge_log_probs(const Model& model, const std::vector<TokenTree>& trees) {
  const c10::NoGradGuard no_grad;
  const Tensor hidden = forward_trees(model, trees);
  std::vector<int64_t> rows, labels;
  int64_t begin = 0;
  for (const TokenTree& tree : trees) {
    const auto prompt = static_cast<int64_t>(tree.prompt.size());
    for (const auto& edge : tree.edges) {
      rows.push_back(begin + prompt + (edge.after == kPromptEnd ? -1 : edge.after));
      labels.push_back(edge.label);
    }
    begin += tree.size();
  }
  const auto device = hidden.device();
  return label_log_probs(hidden, model.head, model.spec.final_softcap, at::tensor(rows).to(device),
                         at::tensor(labels).to(device))
      .to(at::kCPU, at::kDouble);
}

}  // namespace prentice

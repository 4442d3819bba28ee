#include "eval/trie.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/wide_type.h"
#include "model/decoder.h"
#include "objective/token_log_probs.h"

namespace prentice {

namespace {

// A tree in the flat stream: its prompt, then its nodes.
struct Segment {
  int64_t begin = 0, prompt = 0, nodes = 0;
  Tensor ancestors;  // [nodes, depth] int64: the node itself, its parent, ...; 0 beyond the prompt's end
  Tensor beyond;     // [nodes, depth] bool: true there
  Tensor distance;   // [nodes, prompt] int64: positions from each key of the prompt to the node
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

Segment segment_of(const TokenTree& tree, int64_t begin, at::Device device) {
  Segment segment{.begin = begin,
                  .prompt = static_cast<int64_t>(tree.prompt.size()),
                  .nodes = static_cast<int64_t>(tree.ids.size())};
  const auto positions = positions_of(tree);
  int64_t depth = 0;
  for (const int64_t position : positions) depth = std::max(depth, position - segment.prompt + 1);
  std::vector<int64_t> ancestors(static_cast<size_t>(segment.nodes * depth), 0);
  Tensor beyond = at::ones({segment.nodes, depth}, at::kBool);
  bool* is_beyond = beyond.mutable_data_ptr<bool>();
  for (int64_t node = 0; node < segment.nodes; ++node) {
    int64_t slot = node * depth;
    for (int64_t at = node; at != kPromptEnd; at = tree.parents[static_cast<size_t>(at)], ++slot) {
      ancestors[static_cast<size_t>(slot)] = at, is_beyond[slot] = false;
    }
  }
  segment.ancestors = at::tensor(ancestors).view({segment.nodes, depth}).to(device);
  segment.beyond = beyond.to(device);
  const Tensor own = at::tensor(positions).narrow(0, segment.prompt, segment.nodes).unsqueeze(1);
  segment.distance = (own - at::arange(segment.prompt, at::kLong)).to(device);
  return segment;
}

// Attention of the nodes: to every key of the prompt and to their own ancestors, of which there are few, so that the
// work grows with the nodes and not with their square. q [n, H, E], k and v [P + n, K, E] -> [n, H * E]
Tensor attend_nodes(const Segment& segment, const Tensor& q, const Tensor& k, const Tensor& v,
                    const AttentionOptions& how) {
  const int64_t nodes = segment.nodes, heads = k.size(1), width = k.size(2), group = q.size(1) / heads;
  const int64_t depth = segment.ancestors.size(1), prompt = segment.prompt;
  const auto wide = wide_type(q);
  const Tensor flat = segment.ancestors.flatten();
  const auto own = [&](const Tensor& x) {  // [n, K, depth, E]
    return x.narrow(0, prompt, nodes).index_select(0, flat).view({nodes, depth, heads, width}).transpose(1, 2);
  };
  const auto shared = [&](const Tensor& x) { return x.narrow(0, 0, prompt).transpose(0, 1); };  // [K, P, E]
  const Tensor queries = q.reshape({nodes, heads, group, width});
  const Tensor by_head = queries.transpose(0, 1).reshape({heads, nodes * group, width});
  const Tensor to_prompt =
      at::matmul(by_head, shared(k).transpose(1, 2)).view({heads, nodes, group, prompt}).transpose(0, 1);
  const Tensor to_own = at::matmul(queries, own(k).transpose(2, 3));  // [n, K, G, depth]
  Tensor scores = at::cat({to_prompt, to_own}, 3).to(wide).mul_(how.scale);
  if (how.softcap > 0) scores.div_(how.softcap).tanh_().mul_(how.softcap);
  Tensor hidden_prompt = at::zeros_like(segment.distance, at::kBool), hidden_own = segment.beyond;
  if (how.window > 0) {
    hidden_prompt = segment.distance.ge(how.window);
    hidden_own = hidden_own.logical_or(at::arange(depth, segment.ancestors.options()).ge(how.window));
  }
  const Tensor hidden = at::cat({hidden_prompt, hidden_own}, 1).view({nodes, 1, 1, prompt + depth});
  scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  const Tensor shares = at::softmax(scores, -1).to(v.scalar_type());
  const Tensor prompt_shares = shares.narrow(3, 0, prompt).transpose(0, 1).reshape({heads, nodes * group, prompt});
  const Tensor from_prompt = at::matmul(prompt_shares, shared(v)).view({heads, nodes, group, width}).transpose(0, 1);
  return (from_prompt + at::matmul(shares.narrow(3, prompt, depth), own(v))).reshape({nodes, q.size(1) * width});
}

Tensor attend(const std::vector<Segment>& segments, const Tensor& q, const Tensor& k, const Tensor& v,
              const AttentionOptions& how) {
  std::vector<Tensor> results;
  for (const Segment& segment : segments) {
    const auto part = [&](const Tensor& x, int64_t from, int64_t size) {
      return x.narrow(0, segment.begin + from, size);
    };
    const int64_t prompt = segment.prompt, nodes = segment.nodes;
    results.push_back(attention_cached(part(q, 0, prompt), part(k, 0, prompt), part(v, 0, prompt), how));
    if (nodes == 0) continue;
    results.push_back(
        attend_nodes(segment, part(q, prompt, nodes), part(k, 0, prompt + nodes), part(v, 0, prompt + nodes), how));
  }
  return at::cat(results, 0);
}

// [sum of sizes, D], after the final norm
Tensor forward_trees(const Model& model, const std::vector<TokenTree>& trees) {
  const auto device = device_of(model);
  std::vector<Segment> segments;
  std::vector<int64_t> ids, positions, starts = {0};
  for (const TokenTree& tree : trees) {
    const auto own = positions_of(tree);
    segments.push_back(segment_of(tree, static_cast<int64_t>(ids.size()), device));
    ids.insert(ids.end(), tree.prompt.begin(), tree.prompt.end());
    ids.insert(ids.end(), tree.ids.begin(), tree.ids.end());
    positions.insert(positions.end(), own.begin(), own.end());
    starts.push_back(static_cast<int64_t>(ids.size()));
  }
  const Tensor host_ids = at::tensor(ids);
  return run_decoder(model, {.ids = host_ids.to(device),
                             .host_ids = host_ids,
                             .rotary = {at::tensor(positions).to(device), starts},
                             .attend = [&](size_t, const Tensor& q, const Tensor& k, const Tensor& v,
                                           const AttentionOptions& how) { return attend(segments, q, k, v, how); }});
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

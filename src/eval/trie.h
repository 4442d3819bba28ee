// Token sequences that share prefixes as a tree, and the forward pass over a prompt and its tree: every node attends to
// the prompt and to its own ancestors.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "model/model.h"

namespace prentice {

inline constexpr int32_t kPromptEnd = -1;  // as a parent: the last token of the prompt

struct TokenTree {
  std::vector<int32_t> prompt;   // at least one token
  std::vector<int32_t> ids;      // nodes, parents before children
  std::vector<int32_t> parents;  // by node: index of its parent, or kPromptEnd
  // What is to be scored: the probability of `label` after node (or prompt end) `after`. No pair twice.
  struct Edge {
    int32_t after = kPromptEnd;
    int32_t label = 0;
  };
  std::vector<Edge> edges;
  std::vector<std::vector<int32_t>> paths;  // by answer: the edges along it

  int64_t size() const { return static_cast<int64_t>(prompt.size() + ids.size()); }
};

// The last token of an answer is an edge only: nothing follows it.
TokenTree build_tree(std::vector<int32_t> prompt, const std::vector<std::vector<int32_t>>& answers);

// log p of every edge of every tree, tree by tree; [edges] f64 on the CPU. Where the rotation depends on the length of
// a sequence (longrope), the longest path of a tree decides for all of it.
Tensor edge_log_probs(const Model&, const std::vector<TokenTree>&);

}  // namespace prentice

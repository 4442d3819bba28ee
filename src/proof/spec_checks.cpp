#include "proof/spec_checks.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <utility>

#include "export/gguf_features.h"
#include "model/rope_table.h"
#include "proof/same_number.h"

namespace prentice {

namespace {

// Keys that llama.cpp reads for nothing but a report, or not at all with the architectures that are read here without.
constexpr std::string_view kHarmless[] = {"vocab_size", "rope.scaling.finetuned", "attention.sliding_window",
                                          "tensor_data_layout"};

// Collects what differs under one name.
class Group {
 public:
  explicit Group(std::string name) : name_(std::move(name)) {}

  template <class T>
  Group& equal(const char* what, const T& wanted, const T& found) {
    if (wanted != found) add(fmt::format("{}: expected {}, got {}", what, wanted, found));
    return *this;
  }
  Group& near(const char* what, double wanted, double found) {
    if (!same_number(wanted, found)) add(fmt::format("{}: expected {:.8g}, got {:.8g}", what, wanted, found));
    return *this;
  }
  void add(std::string text) { differences_.push_back(std::move(text)); }
  Check check() const {
    return {.name = name_,
            .passed = differences_.empty(),
            .value = static_cast<double>(differences_.size()),
            .limit = 0,
            .detail = differences_.empty() ? "" : differences_.front()};
  }

 private:
  std::string name_;
  std::vector<std::string> differences_;
};

Check sizes_check(const ModelSpec& a, const ModelSpec& b) {
  Group group("sizes");
  group.equal("architecture", a.gguf.architecture, b.gguf.architecture);
  group.equal("hidden width", a.hidden, b.hidden).equal("layers", a.layers, b.layers);
  group.equal("heads", a.heads, b.heads).equal("key/value heads", a.kv_heads, b.kv_heads);
  group.equal("width of a head", a.head_dim, b.head_dim).equal("feed-forward width", a.feed_forward, b.feed_forward);
  group.equal("vocabulary", a.vocab, b.vocab).equal("labels of a score head", a.labels, b.labels);
  return group.check();
}

Check norms_check(const ModelSpec& a, const ModelSpec& b) {
  Group group("norms");
  group.equal("kind", static_cast<int>(a.norm), static_cast<int>(b.norm)).near("epsilon", a.norm_eps, b.norm_eps);
  group.equal("norms of heads", a.head_norm.has_value(), b.head_norm.has_value());
  group.equal("norms behind attention", a.names.attention_output_norm.empty(), b.names.attention_output_norm.empty());
  return group.check();
}

Check attention_check(const ModelSpec& a, const ModelSpec& b) {
  Group group("attention and MLP");
  group.near("scale of scores", a.attention_scale, b.attention_scale);
  group.near("soft cap of scores", a.attention_softcap, b.attention_softcap);
  group.near("soft cap of logits", a.final_softcap, b.final_softcap);
  group.near("scale of the embedding", a.embed_scale, b.embed_scale);
  group.equal("parallel block", static_cast<int>(a.block), static_cast<int>(b.block));
  group.equal("activation", static_cast<int>(a.activation), static_cast<int>(b.activation));
  group.equal("gate in the MLP", a.gated_mlp, b.gated_mlp).equal("bias of q, k, v", a.qkv_bias, b.qkv_bias);
  group.equal("bias behind attention", a.o_bias, b.o_bias).equal("bias in the MLP", a.mlp_bias, b.mlp_bias);
  group.equal("bias of the head", a.head_bias, b.head_bias);
  return group.check();
}

// Angles a token turns by, and the size of cosines and sines, for prompts of both lengths where that matters.
void compare_rotation(Group& group, size_t layer, const RopeSpec& a, const RopeSpec& b) {
  const std::string what = fmt::format("layer {}, rotated features", layer);
  group.equal(what.c_str(), a.rotary_dim, b.rotary_dim);
  if (a.rotary_dim != b.rotary_dim) return;
  group.near(fmt::format("layer {}, base", layer).c_str(), a.theta, b.theta);
  group.near(fmt::format("layer {}, size of cosines", layer).c_str(), a.attention_factor, b.attention_factor);
  const bool by_length = a.kind == RopeKind::longrope && b.kind == RopeKind::longrope;
  if (by_length && a.short_factors != a.long_factors) {
    group.equal(fmt::format("layer {}, length of short prompts", layer).c_str(), a.original_max_positions,
                b.original_max_positions);
  }
  for (const bool is_long : {false, true}) {
    const Tensor own = inverse_frequencies(a, is_long), other = inverse_frequencies(b, is_long);
    const double ratio = ((own - other).abs() / own).max().item<double>();
    if (ratio <= 1e-4) continue;
    return group.add(fmt::format("layer {}, scaling: frequencies differ by {:.2g}", layer, ratio));
  }
}

Check rotation_check(const ModelSpec& a, const ModelSpec& b) {
  Group group("rotation");
  for (size_t i = 0; i < a.layer.size() && i < b.layer.size(); ++i) {
    compare_rotation(group, i, a.ropes.at(static_cast<size_t>(a.layer[i].rope)),
                     b.ropes.at(static_cast<size_t>(b.layer[i].rope)));
  }
  return group.check();
}

// Where llama.cpp ignores windows, what it computes is the model's up to the window alone; the context says so.
Check windows_check(const ModelSpec& a, const ModelSpec& b, bool as_gguf) {
  Group group("windows");
  for (size_t i = 0; i < a.layer.size() && i < b.layer.size(); ++i) {
    if (as_gguf && !obeys_windows(a)) break;
    group.equal(fmt::format("layer {}", i).c_str(), a.layer[i].window, b.layer[i].window);
  }
  return group.check();
}

// Names every field of a spec: one that is added does not compile until it stands here, which is where to say what
// compares it. Those above compare all but these: `architecture` is the folder's word (that of GGUF is compared);
// `norm_offset` and `tied_head` show in values and in the set of tensors; tokens are proof/vocabulary_checks.h's and
// the stop tokens' matter; the rest says how a model is stored, named or started.
void name_every_field(const ModelSpec& spec) {
  [[maybe_unused]] const auto& [architecture, hidden, layers, heads, kv_heads, head_dim, feed_forward, vocab, labels,
                                max_positions, norm, norm_eps, norm_offset, head_norm, block, qkv_bias, o_bias,
                                mlp_bias, head_bias, gated_mlp, tied_head, activation, embed_scale, attention_scale,
                                attention_softcap, final_softcap, initializer_range, ropes, layer, bos_ids, eos_ids,
                                pad_id, section, names, ignorable_tensors, gguf, blocks, config] = spec;
  [[maybe_unused]] const auto& [rope, window] = LayerSpec{};
}

}  // namespace

Check unread_check(const GgufReader& file, const std::string& architecture) {
  auto keys = file.unread(architecture + ".");
  std::erase_if(keys, [&](const std::string& key) {
    return std::ranges::find(kHarmless, std::string_view(key).substr(architecture.size() + 1)) != std::end(kHarmless);
  });
  return equal_check("keys", keys.empty(), fmt::format("{}", fmt::join(keys, ", ")));
}

std::vector<Check> spec_checks(const ModelSpec& wanted, const ModelSpec& found, bool as_gguf) {
  name_every_field(wanted);
  Group context("context");
  context.equal("positions", wanted.max_positions, found.max_positions);
  return {sizes_check(wanted, found),
          norms_check(wanted, found),
          attention_check(wanted, found),
          rotation_check(wanted, found),
          windows_check(wanted, found, as_gguf),
          context.check()};
}

Check stops_check(const std::vector<int32_t>& wanted, const std::vector<int32_t>& found) {
  std::vector<int32_t> strange;
  for (const int32_t id : found) {
    if (std::ranges::count(wanted, id) == 0) strange.push_back(id);
  }
  const bool equal = strange.empty() && found.empty() == wanted.empty();
  return equal_check("stop tokens", equal,
                     equal ? fmt::format("{}", fmt::join(found, ", "))
                           : fmt::format("expected of {}, got {}", fmt::join(wanted, ", "), fmt::join(found, ", ")));
}

}  // namespace prentice

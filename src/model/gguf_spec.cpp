#include "model/gguf_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/word_list.h"
#include "io/gguf_values.h"
#include "model/family.h"
#include "model/gguf_keys.h"
#include "model/gguf_load.h"
#include "model/gguf_rope.h"

namespace prentice {

namespace {

// Keys that change what is computed and that no architecture read here has, with the one value that changes nothing.
constexpr std::pair<std::string_view, double> kForeignKeys[] = {
    {"expert_count", 0},    {"attention.scale", 0}, {"attention.clamp_kqv", 0}, {"attention.max_alibi_bias", 0},
    {"logit_scale", 0},     {"embedding_scale", 0}, {"residual_scale", 0},      {"attention.temperature_length", 0},
    {"altup.num_inputs", 0}};

class ConfigMaker {
 public:
  ConfigMaker(const GgufReader& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)), family_(find_gguf_family(architecture_)) {}

  Json make() {
    config_["architectures"] = Json::Array{family_.architectures.front()};
    config_["model_type"] = family_.model_types.front();
    refuse_foreign();
    add_sizes();
    add_numbers();
    add_switches();
    add_rotation();
    add_windows();
    add_tokens();
    return std::move(config_);
  }

 private:
  std::string key(std::string_view name) const { return architecture_ + "." + std::string(name); }
  std::optional<int64_t> integer(std::string_view name) const { return gguf_integer(file_, key(name)); }
  std::optional<double> number(std::string_view name) const { return gguf_number(file_, key(name)); }
  bool has(std::string_view tensor) const { return file_.find_tensor(tensor) != nullptr; }

  void refuse_foreign() const {
    for (const auto& [name, harmless] : kForeignKeys) {
      const auto value = number(name);
      if (value && *value != harmless) {
        fail(ExitCode::malformed,
             fmt::format("key {}: {} changes the arithmetic and is not supported", key(name), *value));
      }
    }
    if (gguf_flag(file_, key("attention.causal")).value_or(true)) return;
    fail(ExitCode::malformed, "key " + key("attention.causal") + ": only true is supported");
  }

  void add_sizes() {
    for (const auto& size : kGgufSizes) {
      const auto value = integer(size.key);
      if (!value && size.required) fail(ExitCode::malformed, "key " + key(size.key) + " is missing");
      if (value && !size.config.empty()) config_[size.config] = *value;
    }
    const GgufTensorView* embedding = file_.find_tensor("token_embd.weight");
    if (embedding == nullptr || embedding->dims.size() != 2) {
      fail(ExitCode::malformed, "tensor token_embd.weight is missing or no matrix");
    }
    config_["vocab_size"] = embedding->dims[1];
    const int64_t heads = *integer("attention.head_count"), hidden = *integer("embedding_length");
    if (heads < 1) fail(ExitCode::malformed, fmt::format("key {}: {}", key("attention.head_count"), heads));
    config_["num_key_value_heads"] = integer("attention.head_count_kv").value_or(heads);
    head_dim_ = integer("attention.key_length").value_or(hidden / heads);
    if (integer("attention.value_length").value_or(head_dim_) != head_dim_) {
      fail(ExitCode::malformed, "values of heads are not as wide as keys, which is not supported");
    }
    config_["head_dim"] = head_dim_;
    mean_head_ = hidden / heads;
    check_layers(heads);
  }

  // Before anything is made for each layer and head.
  void check_layers(int64_t heads) const {
    constexpr int64_t kMaxHeads = 1024, kMaxLayers = 1024, kMaxHeadNorms = 1 << 14;
    const int64_t layers = *integer("block_count");
    if (heads > kMaxHeads) {
      fail(ExitCode::malformed, fmt::format("key {}: {}, at most {}", key("attention.head_count"), heads, kMaxHeads));
    }
    const bool norm_of_each = family_.head_norm && family_.head_norm->each_head && has("blk.0.attn_q_norm.weight");
    for (int64_t i = 0; i < layers; ++i) {
      const std::string norm = fmt::format("blk.{}.attn_norm.weight", i),
                        heads_norm = fmt::format("blk.{}.attn_q_norm.weight", i);
      if (!has(norm)) fail(ExitCode::malformed, "tensor " + norm + " is missing");
      if (!norm_of_each) continue;
      const GgufTensorView* norms = file_.find_tensor(heads_norm);
      if (norms == nullptr || norms->dims != std::vector<int64_t>{head_dim_, heads}) {
        fail(ExitCode::malformed, fmt::format("tensor {}: expected {} rows of {}", heads_norm, heads, head_dim_));
      }
    }
    if (layers > kMaxLayers) {
      fail(ExitCode::malformed, fmt::format("key {}: {}, at most {}", key("block_count"), layers, kMaxLayers));
    }
    if (norm_of_each && layers * heads > kMaxHeadNorms) {
      fail(ExitCode::malformed,
           fmt::format("norms of {} heads in each of {} layers, at most {} in all", heads, layers, kMaxHeadNorms));
    }
  }

  void add_numbers() {
    const char* epsilon =
        family_.norm == NormKind::layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    const auto value = number(epsilon);
    if (!value) fail(ExitCode::malformed, "key " + key(epsilon) + " is missing");
    config_[family_.norm_eps] = *value;
    const auto take = [&](const std::string& name, const char* from) {
      const auto found = number(from);
      if (!name.empty() && found && *found != 0) config_[name] = *found;
    };
    take(family_.attention_softcap, "attn_logit_softcapping");
    take(family_.final_softcap, "final_logit_softcapping");
    if (family_.attention_scale.empty()) return;
    const bool mean = integer("block_count") == family_.gguf.mean_scale_layers;
    config_[family_.attention_scale] = mean ? mean_head_ : head_dim_;
  }

  // What a family leaves open shows in which tensors are there.
  void add_switches() {
    const auto choose = [&](const FamilySwitch& choice, bool value) {
      if (!choice.key.empty()) config_[choice.key] = value;
    };
    choose(family_.qkv_bias, has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"));
    choose(family_.o_bias, has("blk.0.attn_output.bias"));
    choose(family_.mlp_bias, has("blk.0.ffn_down.bias"));
    choose(family_.head_bias, has("output.bias"));
    choose(family_.parallel, !has("blk.0.ffn_norm.weight"));
    choose(family_.head_norm_switch, has("blk.0.attn_q_norm.weight"));
    config_["tie_word_embeddings"] = !has("output.weight");
  }

  void add_rotation() {
    const double theta = number("rope.freq_base").value_or(10000);
    const int64_t rotated = integer("rope.dimension_count").value_or(head_dim_);
    config_["rope_theta"] = theta;
    if (!family_.rope.local_theta.empty()) {
      config_[family_.rope.local_theta] = number("rope.freq_base_swa").value_or(10000);
    }
    constexpr int64_t kMaxRotated = 1 << 14;  // each has a factor in lists of numbers
    if (rotated < 2 || rotated > std::min(head_dim_, kMaxRotated) || rotated % 2 != 0 ||
        (rotated != head_dim_ && !family_.rope.partial)) {
      fail(ExitCode::malformed, fmt::format("key {}: {} of heads {} wide is not supported", key("rope.dimension_count"),
                                            rotated, head_dim_));
    }
    if (family_.rope.partial) {
      double share = static_cast<double>(rotated) / static_cast<double>(head_dim_);
      if (static_cast<int64_t>(share * static_cast<double>(head_dim_)) != rotated) share = std::nextafter(share, 2);
      config_["partial_rotary_factor"] = share;
    }
    Json scaling = rope_scaling_of(file_, architecture_, theta, rotated);
    if (scaling.is_null()) return;
    if (const Json* original = scaling.find("original_max_position_embeddings")) {
      config_["original_max_position_embeddings"] = *original;
    }
    config_["rope_scaling"] = std::move(scaling);
  }

  // Which layers see a window only. llama.cpp's architectures without the word ignore a window, and so do we: what is
  // trained is what is served.
  void add_windows() {
    if (!family_.window) return;
    const bool every_other = holds(family_.gguf.always, "window_every_other");
    const auto window = integer("attention.sliding_window");
    if (every_other) {
      if (window) config_["sliding_window"] = *window;
      require_every_other();
      return;
    }
    config_["sliding_window"] = nullptr;
    if (!holds(family_.gguf.may, "windows")) return;
    const bool any = window.value_or(0) > 0;
    if (any) config_["sliding_window"] = *window;
    Json::Array types;
    for (const bool windowed : windowed_layers(any))
      types.emplace_back(windowed ? "sliding_attention" : "full_attention");
    config_["layer_types"] = std::move(types);
  }

  void require_every_other() const {
    const std::string name = key("attention.sliding_window_pattern");
    if (file_.find(name) == nullptr) return;
    const auto windowed = windowed_layers(true);
    for (size_t i = 0; i < windowed.size(); ++i) {
      if (windowed[i] != (i % 2 == 0))
        fail(ExitCode::malformed, fmt::format("key {}: only every other layer is supported, layer 0 first", name));
    }
  }

  std::vector<bool> windowed_layers(bool any) const {
    constexpr int64_t kUsualPeriod = 6;
    const int64_t layers = std::clamp<int64_t>(*integer("block_count"), 0, 4096);
    std::vector<bool> windowed(static_cast<size_t>(layers), false);
    if (!any) return windowed;
    const std::string name = key("attention.sliding_window_pattern");
    const GgufValue* value = file_.find(name);
    const auto* list = value ? std::get_if<GgufArray>(value) : nullptr;
    if (list != nullptr) {
      if (list->type != GgufType::boolean || list->count != windowed.size()) {
        fail(ExitCode::malformed, fmt::format("key {}: expected a bool for each layer", name));
      }
      for (size_t i = 0; i < windowed.size(); ++i) windowed[i] = list->bytes()[i] != std::byte{0};
      return windowed;
    }
    const int64_t period = std::max<int64_t>(1, gguf_integer(file_, name).value_or(kUsualPeriod));
    for (int64_t i = 0; i < layers; ++i) windowed[i] = i % period < period - 1;
    return windowed;
  }

  void add_tokens() {
    const auto id = [&](const char* name) -> std::optional<int64_t> {
      const auto found = gguf_integer(file_, fmt::format("tokenizer.ggml.{}_token_id", name));
      const bool fits = found && *found >= 0 && *found < config_.at("vocab_size").as_integer();
      return fits ? found : std::nullopt;
    };
    const auto or_null = [](const std::optional<int64_t>& found) { return found ? Json(*found) : Json(nullptr); };
    config_["bos_token_id"] = or_null(id("bos"));
    config_["pad_token_id"] = or_null(id("padding"));
    Json::Array ends;  // all that llama.cpp stops at by their numbers
    for (const char* name : {"eos", "eot", "eom"}) {
      const auto found = id(name);
      if (found && std::ranges::find(ends, Json(*found)) == ends.end()) ends.emplace_back(*found);
    }
    config_["eos_token_id"] = ends.empty() ? Json(nullptr) : Json(std::move(ends));
  }

  const GgufReader& file_;
  std::string architecture_;
  Family family_;
  int64_t head_dim_ = 0, mean_head_ = 0;
  Json config_ = Json::Object{};
};

}  // namespace

Json gguf_config(const GgufReader& file) {
  return with_context(ExitCode::model, file.path().string(), [&] {
    const auto type = gguf_text(file, "general.type");
    if (type && *type != "model") fail(ExitCode::malformed, "a GGUF file of the type '" + *type + "', and no model");
    if (gguf_integer(file, "split.count").value_or(1) > 1) {
      fail(ExitCode::malformed, "one part of a model that is split over several files",
           "join them with the gguf-split of llama.cpp");
    }
    const auto architecture = gguf_text(file, "general.architecture");
    if (!architecture) fail(ExitCode::malformed, "key general.architecture is missing");
    return ConfigMaker(file, *architecture).make();
  });
}

ModelSpec read_gguf_spec(const GgufReader& file) {
  ModelSpec spec = read_spec(gguf_config(file), file.path().string());
  for (const auto& tensor : match_gguf(spec, file)) {
    if (tensor.stays_in_blocks) spec.blocks[tensor.name] = tensor.rows.view->type;
  }
  return spec;
}

ModelSpec read_gguf_spec(const std::filesystem::path& path) { return read_gguf_spec(GgufReader::open(path)); }

}  // namespace prentice

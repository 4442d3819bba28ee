#include "export/gguf_names.h"

#include <array>
#include <utility>

#include "adapter/pattern.h"
#include "core/error.h"

namespace prentice {

namespace {

using Names = std::pair<std::string_view, std::string_view>;

constexpr std::array kModelNames = {
    Names{"model.embed_tokens", "token_embd"},
    Names{"model.norm", "output_norm"},
    Names{"lm_head", "output"},
};

constexpr std::array kLayerNames = {
    Names{"input_layernorm", "attn_norm"},    Names{"self_attn.q_proj", "attn_q"},
    Names{"self_attn.k_proj", "attn_k"},      Names{"self_attn.v_proj", "attn_v"},
    Names{"self_attn.o_proj", "attn_output"}, Names{"self_attn.q_norm", "attn_q_norm"},
    Names{"self_attn.k_norm", "attn_k_norm"}, Names{"post_attention_layernorm", "ffn_norm"},
    Names{"mlp.gate_proj", "ffn_gate"},       Names{"mlp.up_proj", "ffn_up"},
    Names{"mlp.down_proj", "ffn_down"},
};

template <class Table>
std::string_view look_up(const Table& table, std::string_view name) {
  for (const auto& [from, to] : table) {
    if (from == name) return to;
  }
  return "";
}

bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> endings) {
  for (const auto ending : endings) {
    if (text.ends_with(ending)) return true;
  }
  return false;
}

// `key` is an expression over the whole GGUF name, or its last part: attn_v for blk.3.attn_v.weight.
bool names_tensor(const std::string& key, const std::string& gguf_name) {
  if (looks_like_pattern(key)) return Pattern(key).matches(gguf_name);
  return gguf_name == key || gguf_name == key + ".weight" || gguf_name.ends_with("." + key + ".weight");
}

GgmlType type_named(const std::string& name) {
  const auto* type = find_ggml_type_name(name);
  if (type == nullptr) fail(ExitCode::usage, "unknown type \"" + name + "\"", "use F32, F16, BF16 or Q8_0");
  return type->type;
}

}  // namespace

std::string gguf_name(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  const std::string_view name(tensor), module = name.substr(0, dot);
  const auto suffix = dot == std::string::npos ? std::string_view() : name.substr(dot);
  if (suffix == ".weight" || suffix == ".bias") {
    if (const auto found = look_up(kModelNames, module); !found.empty())
      return std::string(found) + std::string(suffix);
    constexpr std::string_view kLayers = "model.layers.";
    const size_t end_of_number = module.find('.', kLayers.size());
    if (module.starts_with(kLayers) && end_of_number != std::string_view::npos) {
      const auto number = module.substr(kLayers.size(), end_of_number - kLayers.size());
      const auto found = look_up(kLayerNames, module.substr(end_of_number + 1));
      if (!found.empty()) return "blk." + std::string(number) + "." + std::string(found) + std::string(suffix);
    }
  }
  fail(ExitCode::model, "tensor " + tensor + " has no place in a GGUF file",
       "export a merged Hugging Face folder instead");
}

std::function<int64_t(int64_t)> gguf_row_order(const std::string& tensor, const ModelSpec& spec) {
  const bool rotated = ends_with_any(tensor, {"q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias"});
  if (!spec.gguf.permute_qk || !rotated) return [](int64_t row) { return row; };
  const int64_t head_rows = spec.head_dim;
  return [head_rows](int64_t row) {
    const int64_t in_head = row % head_rows;
    return row - in_head + in_head / 2 + (in_head % 2) * (head_rows / 2);
  };
}

float gguf_offset(const std::string& tensor, const ModelSpec& spec) {
  return tensor.ends_with("norm.weight") ? static_cast<float>(spec.norm_offset) : 0.0f;
}

GgmlType gguf_tensor_type(const std::string& gguf_name, const std::vector<int64_t>& shape, GgmlType wanted,
                          const std::map<std::string, std::string>& types) {
  if (shape.size() < 2 || gguf_name.ends_with("_norm.weight") || !gguf_name.ends_with(".weight")) return GgmlType::F32;
  for (const auto& [key, type] : types) {
    const bool named =
        with_context(ExitCode::usage, "export.types: " + key, [&] { return names_tensor(key, gguf_name); });
    if (!named) continue;
    wanted = with_context(ExitCode::usage, "export.types: " + key, [&] { return type_named(type); });
    break;
  }
  return shape.back() % ggml_type_info(wanted).block_elements == 0 ? wanted : GgmlType::F16;
}

}  // namespace prentice

#include "model/gguf_names.h"

#include <utility>
#include <vector>

#include "core/error.h"

namespace prentice {

namespace {

using Names = std::vector<std::pair<std::string, std::string_view>>;  // module, GGUF

Names model_names(const ModuleNames& names) {
  return {{names.embed, "token_embd"}, {names.final_norm, "output_norm"}, {names.head, "output"}};
}

Names layer_names(const ModuleNames& names) {
  Names all = {{names.input_norm, "attn_norm"},
               {names.o, "attn_output"},
               {names.down, "ffn_down"},
               {names.mlp_norm, "ffn_norm"},
               {names.attention_output_norm, "post_attention_norm"},
               {names.mlp_output_norm, "post_ffw_norm"},
               {names.query_norm, "attn_q_norm"},
               {names.key_norm, "attn_k_norm"}};
  constexpr const char* kParts[] = {"attn_q", "attn_k", "attn_v"};
  for (size_t i = 0; i < names.qkv.size(); ++i)
    all.emplace_back(names.qkv[i], names.qkv.size() == 1 ? "attn_qkv" : kParts[i]);
  // The gate comes first; alone, the module holds both or is the plain MLP's.
  all.emplace_back(names.gate_up.back(), "ffn_up");
  if (names.gate_up.size() == 2) all.emplace_back(names.gate_up.front(), "ffn_gate");
  return all;
}

// `{}` in a name stands for the number of a head.
bool is_called(std::string_view module, std::string_view name) {
  const size_t braces = name.find("{}");
  if (name.empty() || braces == name.npos) return !name.empty() && module == name;
  const std::string_view before = name.substr(0, braces), behind = name.substr(braces + 2);
  if (module.size() <= before.size() + behind.size() || !module.starts_with(before) || !module.ends_with(behind))
    return false;
  const auto number = module.substr(before.size(), module.size() - before.size() - behind.size());
  return number.find_first_not_of("0123456789") == number.npos;
}

std::string_view look_up(const Names& table, std::string_view module) {
  for (const auto& [name, gguf] : table) {
    if (is_called(module, name)) return gguf;
  }
  return "";
}

bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> endings) {
  for (const auto ending : endings) {
    if (text.ends_with(ending)) return true;
  }
  return false;
}

}  // namespace

std::string gguf_name(const std::string& tensor, const ModelSpec& spec) {
  const size_t dot = tensor.rfind('.');
  const std::string_view name(tensor), module = name.substr(0, dot);
  const auto suffix = dot == std::string::npos ? std::string_view() : name.substr(dot);
  if (suffix == ".weight" || suffix == ".bias") {
    if (const auto found = look_up(model_names(spec.names), module); !found.empty())
      return std::string(found) + std::string(suffix);
    const std::string& layers = spec.names.layers;
    const size_t end_of_number = module.find('.', layers.size());
    if (module.starts_with(layers) && end_of_number != std::string_view::npos) {
      const auto number = module.substr(layers.size(), end_of_number - layers.size());
      const auto found = look_up(layer_names(spec.names), module.substr(end_of_number + 1));
      if (!found.empty()) return "blk." + std::string(number) + "." + std::string(found) + std::string(suffix);
    }
  }
  fail(ExitCode::model, "tensor " + tensor + " has no place in a GGUF file",
       "export a merged Hugging Face folder instead");
}

std::function<int64_t(int64_t)> gguf_row_order(const std::string& gguf_name, const ModelSpec& spec) {
  const bool rotated = ends_with_any(gguf_name, {".attn_q.weight", ".attn_q.bias", ".attn_k.weight", ".attn_k.bias"});
  if (!spec.gguf.permute_qk || !rotated) return [](int64_t row) { return row; };
  const int64_t head_rows = spec.head_dim;
  return [head_rows](int64_t row) {
    const int64_t in_head = row % head_rows;
    return row - in_head + in_head / 2 + (in_head % 2) * (head_rows / 2);
  };
}

float gguf_offset(const std::string& gguf_name, const ModelSpec& spec) {
  return gguf_name.ends_with("_norm.weight") ? static_cast<float>(spec.norm_offset) : 0.0f;
}

}  // namespace prentice

#include "export/gguf_tensor_type.h"

#include "adapter/pattern.h"
#include "core/error.h"
#include "export/gguf_mix.h"

namespace prentice {

namespace {

// `key` is an expression over the whole GGUF name, or its last part: attn_v for blk.3.attn_v.weight.
bool names_tensor(const std::string& key, const std::string& gguf_name) {
  if (looks_like_pattern(key)) return Pattern(key).matches(gguf_name);
  return gguf_name == key || gguf_name == key + ".weight" || gguf_name.ends_with("." + key + ".weight");
}

GgmlType type_named(const std::string& name) {
  const auto* type = find_ggml_type_name(name);
  if (type == nullptr) fail(ExitCode::usage, "unknown type \"" + name + "\"", "use F16, Q8_0 or Q4_K, for instance");
  return type->type;
}

}  // namespace

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
  return type_for_rows(wanted, shape.back());
}

}  // namespace prentice

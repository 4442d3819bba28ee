#include "export/gguf_mix.h"

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "quant/gguf_blocks.h"

namespace prentice {

namespace {

struct FileTypeInfo {
  FileType type;
  std::string_view name;
  GgmlType base;
};
constexpr FileTypeInfo kFileTypes[] = {
    {FileType::F32, "F32", GgmlType::F32},        {FileType::F16, "F16", GgmlType::F16},
    {FileType::BF16, "BF16", GgmlType::BF16},     {FileType::Q8_0, "Q8_0", GgmlType::Q8_0},
    {FileType::Q6_K, "Q6_K", GgmlType::Q6_K},     {FileType::Q5_K_M, "Q5_K_M", GgmlType::Q5_K},
    {FileType::Q5_K_S, "Q5_K_S", GgmlType::Q5_K}, {FileType::Q4_K_M, "Q4_K_M", GgmlType::Q4_K},
    {FileType::Q4_K_S, "Q4_K_S", GgmlType::Q4_K}, {FileType::Q4_0, "Q4_0", GgmlType::Q4_0},
    {FileType::Q3_K_L, "Q3_K_L", GgmlType::Q3_K}, {FileType::Q3_K_M, "Q3_K_M", GgmlType::Q3_K},
    {FileType::Q3_K_S, "Q3_K_S", GgmlType::Q3_K}, {FileType::Q2_K, "Q2_K", GgmlType::Q2_K},
};

const FileTypeInfo& info_of(FileType type) { return *std::ranges::find(kFileTypes, type, &FileTypeInfo::type); }

// The first and last eighth of the layers, and every third between.
bool is_chosen_layer(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

// blk.7.attn_v.weight -> 7
int64_t layer_of(std::string_view name) {
  int64_t layer = 0;
  std::from_chars(name.data() + std::min<size_t>(4, name.size()), name.data() + name.size(), layer);
  return layer;
}

GgmlType type_of_values(FileType file, GgmlType base, int64_t layer, const MixModel& model) {
  switch (file) {
    case FileType::Q2_K:
      return model.heads_per_kv_head >= 4 ? GgmlType::Q4_K : GgmlType::Q3_K;
    case FileType::Q3_K_M:
      return layer < 2 ? GgmlType::Q5_K : GgmlType::Q4_K;
    case FileType::Q3_K_L:
      return GgmlType::Q5_K;
    case FileType::Q4_K_S:
      return layer < 4 ? GgmlType::Q5_K : base;
    case FileType::Q4_K_M:
    case FileType::Q5_K_M:
      return is_chosen_layer(layer, model.layers) ? GgmlType::Q6_K : base;
    default:
      return base;
  }
}

GgmlType type_of_down(FileType file, GgmlType base, int64_t layer, const MixModel& model) {
  switch (file) {
    case FileType::Q2_K:
      return GgmlType::Q3_K;
    case FileType::Q3_K_M:
      return layer < model.layers / 16 ? GgmlType::Q5_K : GgmlType::Q4_K;
    case FileType::Q3_K_L:
      return GgmlType::Q5_K;
    case FileType::Q4_K_S:
      return layer < model.layers / 8 ? GgmlType::Q5_K : base;
    case FileType::Q4_K_M:
    case FileType::Q5_K_M:
      return is_chosen_layer(layer, model.layers) ? GgmlType::Q6_K : base;
    case FileType::Q4_0:
      return model.has_importance && layer < model.layers / 8 ? GgmlType::Q4_1 : base;
    default:
      return base;
  }
}

GgmlType type_of_attention_output(FileType file, GgmlType base) {
  switch (file) {
    case FileType::Q2_K:
      return GgmlType::Q3_K;
    case FileType::Q3_K_M:
      return GgmlType::Q4_K;
    case FileType::Q3_K_L:
      return GgmlType::Q5_K;
    default:
      return base;
  }
}

}  // namespace

FileType file_type_named(std::string_view word) {
  const auto* found = std::ranges::find(kFileTypes, word, &FileTypeInfo::name);
  if (found == std::end(kFileTypes)) {
    fail(ExitCode::usage, "unknown file type \"" + std::string(word) + "\"", "use Q4_K_M, Q8_0 or F16, for instance");
  }
  return found->type;
}

std::string_view file_type_name(FileType type) { return info_of(type).name; }

std::vector<FileType> all_file_types() {
  std::vector<FileType> types;
  for (const auto& info : kFileTypes) types.push_back(info.type);
  return types;
}

MixModel mix_model(const ModelSpec& spec, bool has_importance) {
  const int64_t heads_per_kv_head = spec.heads / std::max<int64_t>(1, spec.kv_heads);
  return {.layers = spec.layers,
          .heads_per_kv_head = heads_per_kv_head,
          .has_output = !spec.tied_head,
          .is_70b = spec.layers == 80 && (heads_per_kv_head > 1 || spec.qkv_bias),
          .has_importance = has_importance};
}

GgmlType mixed_type(FileType file, std::string_view name, const MixModel& model) {
  const GgmlType base = info_of(file).base;
  if (is_float(base)) return base;
  if (name == (model.has_output ? "output.weight" : "token_embd.weight"))
    return base == GgmlType::Q8_0 ? base : GgmlType::Q6_K;
  const int64_t layer = layer_of(name);
  if (name.ends_with(".attn_v.weight") || name.ends_with(".attn_qkv.weight")) {
    const GgmlType type = type_of_values(file, base, layer, model);
    return model.is_70b && (type == GgmlType::Q3_K || type == GgmlType::Q4_K) ? GgmlType::Q5_K : type;
  }
  if (name.ends_with(".ffn_down.weight")) return type_of_down(file, base, layer, model);
  if (name.ends_with(".attn_output.weight")) return type_of_attention_output(file, base);
  return base;
}

GgmlType type_for_rows(GgmlType type, int64_t columns) {
  const auto divides = [&](GgmlType candidate) { return columns % ggml_type_info(candidate).block_elements == 0; };
  if (divides(type)) return type;
  GgmlType next = GgmlType::F16;
  switch (type) {
    case GgmlType::Q2_K:
    case GgmlType::Q3_K:
      next = GgmlType::Q4_0;
      break;
    case GgmlType::Q4_K:
      next = GgmlType::Q5_0;
      break;
    case GgmlType::Q5_K:
      next = GgmlType::Q5_1;
      break;
    case GgmlType::Q6_K:
      next = GgmlType::Q8_0;
      break;
    default:
      break;
  }
  return divides(next) ? next : GgmlType::F16;
}

}  // namespace prentice

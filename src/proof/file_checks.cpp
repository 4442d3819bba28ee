#include "proof/file_checks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "export/gguf_tensor_type.h"
#include "io/gguf_values.h"
#include "proof/logit_limits.h"
#include "quant/gguf_blocks.h"

namespace prentice {

namespace {

constexpr int64_t kDefaultAlignment = 32;

// Whether every tensor of the file has the type that this mix gives it.
bool is_mix(const GgufReader& file, const WeightSource& weights, const std::vector<GgufTensorPlan>& plans,
            FileType type, bool importance) {
  const MixModel model = mix_model(weights.spec(), importance);
  return std::ranges::all_of(plans, [&](const GgufTensorPlan& plan) {
    const std::string& name = plan.info.name;
    if (plan.sources.empty()) return true;
    const auto& shape = weights.tensors()[plan.sources[0]].shape;
    return file.find_tensor(name)->type == gguf_tensor_type(name, shape, mixed_type(type, name, model), {});
  });
}

}  // namespace

Check end_check(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  const auto content = parse_gguf(file.bytes(), path.string());
  if (content.tensors.empty()) return equal_check("end of file", true, "no tensors");
  const auto given = std::ranges::find(content.metadata, "general.alignment", &GgufEntry::key);
  const int64_t alignment = given == content.metadata.end() ? kDefaultAlignment : std::get<uint32_t>(given->value);
  const auto& last = content.tensors.back().bytes;
  const int64_t end = last.data() + last.size() - file.bytes().data(), size = std::ssize(file.bytes());
  const int64_t filled = (end + alignment - 1) / alignment * alignment;
  if (size <= filled) return equal_check("end of file", true, "behind the last tensor");
  return equal_check("end of file", false, fmt::format("{} bytes stand behind the last tensor", size - end));
}

std::optional<Check> unread_type_check(const GgufReader& file) {
  const auto is_unread = [](const GgufTensorView& tensor) {
    return !is_float(tensor.type) && !is_held_in_blocks(tensor.type);
  };
  const auto unread = std::ranges::find_if(file.tensors(), is_unread);
  if (unread == file.tensors().end()) return std::nullopt;
  return equal_check("types and shapes", false,
                     fmt::format("{} is of the type {}, whose values this version does not read", unread->name,
                                 ggml_type_info(unread->type).name));
}

Check file_type_check(const GgufReader& file, const WeightSource& weights, const std::vector<GgufTensorPlan>& plans) {
  constexpr const char* kName = "file type";
  const auto number = gguf_integer(file, "general.file_type");
  if (!number) return equal_check(kName, true, "the file says none");
  const std::string declared = declared_type(file);
  std::vector<std::string_view> mixes;
  for (const FileType type : all_file_types()) {
    if (is_mix(file, weights, plans, type, false) || is_mix(file, weights, plans, type, true))
      mixes.push_back(file_type_name(type));
  }
  const std::string told = declared.empty() ? fmt::format("number {}", *number) : declared;
  if (std::ranges::count(mixes, declared) > 0) return equal_check(kName, true, declared);
  if (!mixes.empty()) {
    return equal_check(
        kName, false,
        fmt::format("general.file_type says {}, the tensors are those of {}", told, fmt::join(mixes, ", ")));
  }
  const auto is_of_type = [&](const GgufTensorView& tensor) {
    return tensor.dims.size() > 1 && declared.starts_with(ggml_type_info(tensor.type).name);
  };
  const bool known = declared.empty() || std::ranges::any_of(file.tensors(), is_of_type);
  return equal_check(kName, known,
                     known ? told + ", and a mix of its own"
                           : fmt::format("general.file_type says {}, and no matrix has that type", told));
}

}  // namespace prentice

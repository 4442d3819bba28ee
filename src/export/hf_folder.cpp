#include "export/hf_folder.h"

#include <algorithm>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "quant/encode.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// transformers 4 wrote torch_dtype, 5 writes dtype: the key that is there keeps its place.
void set_dtype(Json& config, GgmlType type) {
  const char* word = type == GgmlType::F32 ? "float32" : type == GgmlType::F16 ? "float16" : "bfloat16";
  const bool has_new_key = config.find("dtype") != nullptr;
  if (has_new_key) config["dtype"] = word;
  if (!has_new_key || config.find("torch_dtype") != nullptr) config["torch_dtype"] = word;
}

void write_shard(const WeightSource& source, const std::vector<TensorInfo>& infos, const std::vector<size_t>& indices,
                 const fs::path& path, GgmlType type) {
  std::vector<TensorInfo> declared;
  for (const size_t i : indices) declared.push_back(infos[i]);
  SafetensorsWriter writer(path, std::move(declared));
  std::vector<std::byte> bytes;
  for (const size_t i : indices) {
    for_each_block(source, i, 1, [&](int64_t, int64_t, std::span<const float> values) {
      bytes.clear();
      with_context(ExitCode::model, "tensor " + infos[i].name, [&] { encode(values, type, bytes); });
      writer.write(infos[i].name, bytes);
    });
  }
  writer.finish();
}

}  // namespace

Json exported_config(const ModelSpec& spec, GgmlType type) {
  Json config = spec.config;
  set_dtype(config, type);
  const auto* vocab = config.find("vocab_size");
  if (vocab == nullptr || !vocab->is_integer() || vocab->as_integer() != spec.vocab) config["vocab_size"] = spec.vocab;
  auto& members = config.as_object();
  std::erase_if(members, [](const Json::Member& member) { return member.first == "quantization_config"; });
  return config;
}

std::vector<std::string> companion_files(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (!entry->is_regular_file()) continue;  // follows links: a Hugging Face cache is made of them
    if (is_companion_file(name)) names.push_back(name);
  }
  if (error) fail_system("list", folder, error.value());
  std::ranges::sort(names);
  return names;
}

void write_companions(const fs::path& folder, const FileTexts& own, const fs::path& out) {
  for (const auto& name : companion_files(folder)) {
    if (!own.contains(name)) write_file_durably(out / name, MappedFile::open(folder / name).bytes());
  }
  for (const auto& [name, text] : own) write_file_durably(out / name, text);
}

void write_hf_folder(const WeightSource& source, const ModelSpec& spec, const fs::path& companions, const fs::path& out,
                     const HfFolderOptions& options) {
  std::vector<TensorInfo> infos;
  for (const auto& [name, shape] : source.tensors()) infos.push_back({name, dtype_of(options.type), shape});
  const auto plan = plan_shards(infos, options.max_shard_bytes);
  require_free_bytes(out, plan.total_bytes);
  for (size_t i = 0; i < plan.files.size(); ++i) {
    write_shard(source, infos, plan.tensors[i], out / plan.files[i], options.type);
  }
  if (plan.files.size() > 1) {
    write_file_durably(out / "model.safetensors.index.json", shard_index_json(plan, infos));
  }
  write_file_durably(out / "config.json", exported_config(spec, options.type).dump(2) + "\n");
  write_companions(companions, options.own_files, out);
}

}  // namespace prentice

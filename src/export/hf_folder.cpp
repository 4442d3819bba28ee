#include "export/hf_folder.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "export/nf4_form.h"
#include "io/file.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/resumable_stream.h"
#include "io/safetensors.h"
#include "model/stored_nf4.h"
#include "quant/encode.h"
#include "quant/nf4_encoder.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

const char* type_word(GgmlType type) {
  return type == GgmlType::F32 ? "float32" : type == GgmlType::F16 ? "float16" : "bfloat16";
}

// transformers 4 wrote torch_dtype, 5 writes dtype: the key that is there keeps its place.
void set_dtype(Json& config, GgmlType type) {
  const char* word = type_word(type);
  const bool has_new_key = config.find("dtype") != nullptr;
  if (has_new_key) config["dtype"] = word;
  if (!has_new_key || config.find("torch_dtype") != nullptr) config["torch_dtype"] = word;
}

// A tensor of the folder and what it holds: a tensor of the source, or one of those that stand for it in four bits.
struct Stored {
  TensorInfo info;
  size_t source = 0;
  std::optional<size_t> part;
};

// Those in four bits first: their groups are whole multiples of 8 bytes.
std::vector<Stored> stored_tensors(const ModelSpec& spec, const std::vector<TensorShape>& tensors,
                                   const HfFolderOptions& options) {
  const auto quantized = options.nf4 ? nf4_weights(spec) : std::set<std::string>();
  std::vector<Stored> stored, whole;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, shape] = tensors[i];
    if (!quantized.contains(name)) {
      whole.push_back({{name, dtype_of(options.type), shape}, i, {}});
      continue;
    }
    const auto infos = nf4_tensors(name, shape);
    for (size_t part = 0; part < infos.size(); ++part) stored.push_back({infos[part], i, part});
  }
  stored.insert(stored.end(), whole.begin(), whole.end());
  return stored;
}

std::vector<TensorInfo> infos_of(const std::vector<Stored>& stored) {
  std::vector<TensorInfo> infos;
  for (const auto& tensor : stored) infos.push_back(tensor.info);
  return infos;
}

// The parts of one weight at a time.
class FourBits {
  static constexpr size_t kNone = -1;

 public:
  FourBits(const WeightSource& source, GgmlType type) : source_(source), type_(type) {}

  const std::vector<std::byte>& bytes(size_t index, size_t part) {
    if (held_ != index) {
      parts_.clear();  // not beside the next ones
      parts_ = nf4_bytes_of(encoded_rows(source_, index), source_.tensors()[index].name, type_word(type_));
      held_ = index;
    }
    return parts_.at(part);
  }

 private:
  const WeightSource& source_;
  GgmlType type_;
  size_t held_ = kNone;  // whose parts they are
  std::vector<std::vector<std::byte>> parts_;
};

// Behind those that the stream holds already.
void write_tensors(const WeightSource& source, const std::vector<Stored>& stored, const std::vector<size_t>& indices,
                   const HfFolderOptions& options, FourBits& four_bits, ResumableStream& writer) {
  std::vector<std::byte> bytes;
  for (size_t next = writer.kept(); next < indices.size(); ++next) {
    const auto& [info, index, part] = stored[indices[next]];
    if (part) {
      writer.write(info.name, four_bits.bytes(index, *part));
      continue;
    }
    for_each_block(source, index, 1, [&, &info = info](int64_t, int64_t, std::span<const float> values) {
      bytes.clear();
      with_context(ExitCode::model, "tensor " + info.name, [&] { encode(values, options.type, bytes); });
      writer.write(info.name, bytes);
    });
  }
  writer.finish();
}

// A killed process may have left one.
void write_anew(const fs::path& path, std::string_view text) {
  std::error_code none;
  fs::remove(path, none);
  write_file_durably(path, text);
}

}  // namespace

Nf4 encoded_rows(const WeightSource& source, size_t index) {
  const auto [rows, columns] = row_shape(source.tensors()[index].shape);
  Nf4 held = make_nf4(rows, columns, true, at::TensorOptions(at::kFloat));
  Nf4Encoder encoder(held);
  for_each_block(source, index, nf4_rows_together(columns),
                 [&](int64_t, int64_t, std::span<const float> values) { encoder.add(values); });
  encoder.finish();
  return held;
}

uint64_t hf_folder_bytes(const ModelSpec& spec, const HfFolderOptions& options) {
  return plan_shards(infos_of(stored_tensors(spec, expected_tensors(spec), options))).total_bytes;
}

HfFolderOptions merged_options(const ModelSpec& spec, std::string_view merged) {
  const bool nf4 = merged == "nf4";
  return {.type = nf4 ? own_type(spec) : element_type(merged), .nf4 = nf4};
}

GgmlType own_type(const ModelSpec& spec) {
  const Json* word = spec.config.find("dtype");
  if (!word) word = spec.config.find("torch_dtype");
  for (const GgmlType type : {GgmlType::F32, GgmlType::F16}) {
    if (word && *word == Json(type_word(type))) return type;
  }
  return GgmlType::BF16;
}

Json exported_config(const ModelSpec& spec, GgmlType type, bool nf4) {
  Json config = spec.config;
  set_dtype(config, type);
  const auto* vocab = config.find("vocab_size");
  if (vocab == nullptr || !vocab->is_integer() || vocab->as_integer() != spec.vocab) config["vocab_size"] = spec.vocab;
  auto& members = config.as_object();
  std::erase_if(members, [](const Json::Member& member) { return member.first == "quantization_config"; });
  if (nf4) config["quantization_config"] = nf4_config(type_word(type), spec.names.head);
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
    if (!own.contains(name)) write_anew(out / name, MappedFile::open(folder / name).text());
  }
  for (const auto& [name, text] : own) write_anew(out / name, text);
}

void write_hf_folder(const WeightSource& source, const ModelSpec& spec, const fs::path& companions, const fs::path& out,
                     const HfFolderOptions& options, const ResumeOptions& resume) {
  const auto stored = stored_tensors(source.spec(), source.tensors(), options);
  const auto infos = infos_of(stored);
  const auto plan = plan_shards(infos, options.max_shard_bytes);
  if (resume.log.empty()) require_free_bytes(out, plan.total_bytes);
  FourBits four_bits(source, options.type);
  size_t kept = 0;
  bool told = false;
  for (size_t i = 0; i < plan.files.size(); ++i) {
    std::vector<TensorInfo> declared;
    for (const size_t tensor : plan.tensors[i]) declared.push_back(infos[tensor]);
    const fs::path log = resume.log.empty() ? fs::path() : resume.log / (plan.files[i] + ".log");
    ResumableStream writer(out / plan.files[i], safetensors_layout(declared, options.origin), {log, resume.key});
    kept += writer.kept();
    if (!told && (writer.kept() < writer.tensors() || i + 1 == plan.files.size())) {
      resume.tell(kept, infos.size());
      told = true;
    }
    write_tensors(source, stored, plan.tensors[i], options, four_bits, writer);
  }
  if (plan.files.size() > 1) {
    write_anew(out / "model.safetensors.index.json", shard_index_json(plan, infos));
  }
  write_anew(out / "config.json", exported_config(spec, options.type, options.nf4).dump(2) + "\n");
  write_companions(companions, options.own_files, out);
}

}  // namespace prentice

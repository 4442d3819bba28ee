// The safetensors container: one file, a model folder of one or many, and a streaming writer. Every rule of
// the format, offsets without gaps or overlaps among them, is checked before a byte of data is handed out. Knows no
// model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/tensor_stream.h"

namespace prentice {

// clang-format off
enum class DType { boolean, f4, f6_e2m3, f6_e3m2, u8, i8, f8_e5m2, f8_e4m3, f8_e8m0, f8_e4m3fnuz, f8_e5m2fnuz,
                   i16, u16, f16, bf16, i32, u32, f32, c64, i64, u64, f64 };
// clang-format on

std::string_view dtype_name(DType);              // "F32", as in the header of a file
int64_t dtype_bits(DType);                       // bits of one element (sub-byte types exist)
const DType* find_dtype(std::string_view name);  // nullptr when unknown

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
};

// shape -> elements, and the bytes they take. Errors: `malformed` on overflow, a negative size or a part of a byte.
int64_t element_count(const std::vector<int64_t>& shape);
uint64_t tensor_bytes(DType dtype, const std::vector<int64_t>& shape);

struct TensorView : TensorInfo {
  std::span<const std::byte> bytes;  // into the mapping of the file it came from
};

class SafetensorsFile {
 public:
  // Errors: `usage` when missing; `model`, naming file and tensor, when any rule is broken.
  static SafetensorsFile open(const std::filesystem::path& path);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // by offset in the file
  const TensorView* find(std::string_view name) const;                 // nullptr when absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return file_.path(); }
  void release_pages() const { file_.release_pages(); }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
  std::vector<TensorView> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

// What the bytes of a file say; views point into `bytes`. Errors: `model`, beginning with `origin`.
struct SafetensorsContent {
  std::vector<TensorView> tensors;
  std::map<std::string, std::string> metadata;
};
SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, const std::string& origin);

// All weights of a folder: NAME.safetensors, or the shards that NAME.safetensors.index.json lists.
class WeightFolder {
 public:
  // `name`: "model", or "adapter_model". Errors: `usage` when the folder or its weights are missing (a folder with
  // only .bin, .pt or .ckpt files gets a conversion hint); `model` when index and shards disagree or a file is bad.
  static WeightFolder open(const std::filesystem::path& folder, const std::string& name = "model");

  const std::vector<const TensorView*>& tensors() const { return tensors_; }  // shard by shard, by offset
  const TensorView* find(std::string_view name) const;                        // nullptr when absent
  const std::vector<SafetensorsFile>& files() const { return files_; }
  uint64_t total_bytes() const;
  void release_pages() const;  // after a tensor was used: keeps resident memory flat

 private:
  std::vector<SafetensorsFile> files_;
  std::vector<const TensorView*> tensors_;
  std::map<std::string_view, const TensorView*> index_;
};

// Writes one file, tensor by tensor, in the declared order. Declare wider types first when types mix, so that data
// stays aligned. Errors: `storage`; `internal` when write() disagrees with the declaration.
class SafetensorsWriter : public TensorStream {
 public:
  // `metadata` is stored with format = "pt" added.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorInfo>& tensors,
                    const std::map<std::string, std::string>& metadata = {});
};

// How transformers splits a model: tensors in order, a new file when the next tensor would pass the limit.
struct ShardPlan {
  std::vector<std::string> files;            // "model.safetensors", or "model-00001-of-0000N.safetensors"
  std::vector<std::vector<size_t>> tensors;  // by file: indices into the list
  uint64_t total_bytes = 0;
};
inline constexpr uint64_t kMaxShardBytes = 5'000'000'000;
ShardPlan plan_shards(const std::vector<TensorInfo>& tensors, uint64_t max_shard_bytes = kMaxShardBytes,
                      const std::string& name = "model");
// Text of NAME.safetensors.index.json. Only for plans of more than one file.
std::string shard_index_json(const ShardPlan&, const std::vector<TensorInfo>& tensors);

}  // namespace prentice

// The GGUF v3 container (ggml's docs/gguf.md): a reader safe on hostile files and a streaming writer. Knows no model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "io/file.h"
#include "io/tensor_stream.h"

namespace prentice {

// clang-format off
enum class GgmlType : uint32_t { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q8_1 = 9,
  Q2_K = 10, Q3_K = 11, Q4_K = 12, Q5_K = 13, Q6_K = 14, Q8_K = 15, IQ2_XXS = 16, IQ2_XS = 17, IQ3_XXS = 18,
  IQ1_S = 19, IQ4_NL = 20, IQ3_S = 21, IQ2_S = 22, IQ4_XS = 23, I8 = 24, I16 = 25, I32 = 26, I64 = 27, F64 = 28,
  IQ1_M = 29, BF16 = 30, TQ1_0 = 34, TQ2_0 = 35, MXFP4 = 39 };
// clang-format on

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;
  int64_t block_elements;
  int64_t block_bytes;
};
const GgmlTypeInfo* find_ggml_type(uint32_t id);                 // nullptr: unknown, or an id that ggml removed
const GgmlTypeInfo* find_ggml_type_name(std::string_view name);  // "Q8_0"
const GgmlTypeInfo& ggml_type_info(GgmlType);

enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
std::string_view gguf_type_name(GgufType);

// An array as it lies in the file (or as the writer will lay it out): checked, not yet decoded.
struct GgufArray {
  GgufType type = GgufType::u8;
  uint64_t count = 0;
  std::span<const std::byte> view;  // a reader's array: into the file
  std::vector<std::byte> storage;   // an array made by gguf_array owns its bytes

  std::span<const std::byte> bytes() const { return storage.empty() ? view : std::span<const std::byte>(storage); }
  // Errors: `model` when the element type is another one.
  std::vector<std::string_view> strings() const;
  std::vector<float> floats() const;
  std::vector<int32_t> integers() const;  // i32 or u32 elements that fit
};
GgufArray gguf_array(const std::vector<std::string>& values);
GgufArray gguf_array(std::span<const float> values);
GgufArray gguf_array(std::span<const int32_t> values);
GgufArray gguf_array(const std::vector<bool>& values);

// The alternative's index is the type's id in the file.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               GgufArray, uint64_t, int64_t, double>;

struct GgufEntry {
  std::string key;
  GgufValue value;
};

struct GgufTensorInfo {
  std::string name;
  GgmlType type = GgmlType::F32;
  std::vector<int64_t> dims;  // innermost first: the reverse of a torch shape
};
uint64_t gguf_tensor_bytes(const GgufTensorInfo&);  // errors: `malformed` on overflow or a row that is no whole blocks

struct GgufTensorView : GgufTensorInfo {
  std::span<const std::byte> bytes;
};

// Whether it is no folder and begins as GGUF files do, or is called *.gguf; a missing file is neither.
bool is_gguf_file(const std::filesystem::path& path);

class GgufReader {
 public:
  // Errors: `usage` when missing; `model`, naming file and key or tensor, when any rule is broken.
  static GgufReader open(const std::filesystem::path& path);

  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  const GgufValue* find(std::string_view key) const;  // nullptr when absent; not by several threads at a time
  // Keys beginning with `prefix` that nobody has looked for.
  std::vector<std::string> unread(std::string_view prefix) const;
  const std::vector<GgufTensorView>& tensors() const { return tensors_; }
  const GgufTensorView* find_tensor(std::string_view name) const;  // nullptr when absent

  // The value of `key`, which must exist with exactly this type. Errors: `model`.
  template <class T>
  const T& get(std::string_view key) const {
    const auto* value = find(key);
    if (value == nullptr) fail(ExitCode::model, path().string() + ": key " + std::string(key) + " is missing");
    const auto* typed = std::get_if<T>(value);
    if (typed == nullptr) fail_type(key, *value);
    return *typed;
  }
  const std::filesystem::path& path() const { return file_.path(); }
  void release_pages() const { file_.release_pages(); }

 private:
  explicit GgufReader(MappedFile file) : file_(std::move(file)) {}
  [[noreturn]] void fail_type(std::string_view key, const GgufValue& value) const;
  MappedFile file_;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensorView> tensors_;
  std::map<std::string, size_t, std::less<>> tensor_index_;
  mutable std::set<std::string, std::less<>> looked_for_;
};

// What the bytes of a file say; views point into `bytes`. Errors: `model`, beginning with `origin`.
struct GgufContent {
  std::vector<GgufEntry> metadata;
  std::vector<GgufTensorView> tensors;
};
GgufContent parse_gguf(std::span<const std::byte> bytes, const std::string& origin);

// Metadata and tensors are declared first, then data streams in the declared order. Alignment 32, offsets and padding
// exact. Errors: `storage`; `internal` when a call disagrees with the declaration.
class GgufWriter : public TensorStream {
 public:
  GgufWriter(const std::filesystem::path& path, const std::vector<GgufEntry>& metadata,
             const std::vector<GgufTensorInfo>& tensors);
};

}  // namespace prentice

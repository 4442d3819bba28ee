#include <set>

#include "io/gguf.h"
#include "io/stream_layout.h"

namespace prentice {

namespace {

constexpr uint64_t kAlignment = 32;

uint64_t padding(uint64_t bytes) { return (kAlignment - bytes % kAlignment) % kAlignment; }

// The head of the file, made in memory: its largest part is the vocabulary.
class HeadBuilder {
 public:
  template <class T>
  void number(T value) {
    bytes(std::as_bytes(std::span(&value, 1)));
  }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    bytes(as_bytes(text));
  }
  void bytes(std::span<const std::byte> more) { head_.insert(head_.end(), more.begin(), more.end()); }

  void value(const std::string& text) { string(text); }
  void value(const GgufArray& array) {
    number(static_cast<uint32_t>(array.type));
    number(array.count);
    bytes(array.bytes());
  }
  void value(bool flag) { number(static_cast<uint8_t>(flag)); }
  template <class T>
  void value(T scalar) {
    number(scalar);
  }
  void pad() { head_.resize(head_.size() + padding(head_.size())); }
  const std::vector<std::byte>& head() const { return head_; }

 private:
  std::vector<std::byte> head_;
};

std::vector<std::byte> head_of(const std::vector<GgufEntry>& metadata, const std::vector<GgufTensorInfo>& tensors) {
  HeadBuilder builder;
  builder.bytes(as_bytes("GGUF"));
  builder.number<uint32_t>(3);
  builder.number<int64_t>(static_cast<int64_t>(tensors.size()));
  builder.number<int64_t>(static_cast<int64_t>(metadata.size()));
  std::set<std::string_view> names;
  for (const auto& [key, value] : metadata) {
    if (key.empty() || key == "general.alignment" || !names.insert(key).second) {
      fail(ExitCode::internal, "GGUF key \"" + key + "\" is empty, reserved or written twice");
    }
    builder.string(key);
    builder.number(static_cast<uint32_t>(value.index()));
    std::visit([&](const auto& typed) { builder.value(typed); }, value);
  }
  names.clear();
  uint64_t offset = 0;
  for (const auto& tensor : tensors) {
    if (tensor.name.empty() || tensor.name.size() >= 64 || !names.insert(tensor.name).second) {
      fail(ExitCode::internal, "GGUF tensor name \"" + tensor.name + "\" is empty, too long or written twice");
    }
    builder.string(tensor.name);
    builder.number(static_cast<uint32_t>(tensor.dims.size()));
    for (const int64_t size : tensor.dims) builder.number(size);
    builder.number(static_cast<uint32_t>(tensor.type));
    builder.number(offset);
    const uint64_t bytes = gguf_tensor_bytes(tensor);
    offset += bytes + padding(bytes);
  }
  builder.pad();
  return builder.head();
}

std::vector<TensorStream::Part> parts_of(const std::vector<GgufTensorInfo>& tensors) {
  std::vector<TensorStream::Part> parts;
  for (const auto& tensor : tensors) {
    const uint64_t bytes = gguf_tensor_bytes(tensor);
    parts.push_back({tensor.name, bytes, padding(bytes)});
  }
  return parts;
}

}  // namespace

StreamLayout gguf_layout(const std::vector<GgufEntry>& metadata, const std::vector<GgufTensorInfo>& tensors) {
  return {.head = head_of(metadata, tensors), .parts = parts_of(tensors)};
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const std::vector<GgufEntry>& metadata,
                       const std::vector<GgufTensorInfo>& tensors)
    : TensorStream(path, head_of(metadata, tensors), parts_of(tensors)) {}

}  // namespace prentice

#include "io/json.h"
#include "io/safetensors.h"
#include "io/stream_layout.h"

namespace prentice {

namespace {

// The header's length and the header: `{` first and space-padded to a multiple of 8, so that the data is aligned.
std::string head_of(const std::vector<TensorInfo>& tensors, const std::map<std::string, std::string>& metadata) {
  Json::Object header, stored_metadata{{"format", "pt"}};
  for (const auto& [key, value] : metadata) {
    if (key != "format") stored_metadata.emplace_back(key, value);
  }
  header.emplace_back("__metadata__", std::move(stored_metadata));
  uint64_t offset = 0;
  for (const auto& tensor : tensors) {
    const uint64_t end = offset + tensor_bytes(tensor.dtype, tensor.shape);
    Json::Array shape(tensor.shape.begin(), tensor.shape.end());
    header.emplace_back(tensor.name, Json::Object{{"dtype", dtype_name(tensor.dtype)},
                                                  {"shape", std::move(shape)},
                                                  {"data_offsets", Json::Array{offset, end}}});
    offset = end;
  }
  auto text = Json(std::move(header)).dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text;
}

std::vector<TensorStream::Part> parts_of(const std::vector<TensorInfo>& tensors) {
  std::vector<TensorStream::Part> parts;
  for (const auto& tensor : tensors) parts.push_back({tensor.name, tensor_bytes(tensor.dtype, tensor.shape)});
  return parts;
}

}  // namespace

StreamLayout safetensors_layout(const std::vector<TensorInfo>& tensors,
                                const std::map<std::string, std::string>& metadata) {
  const std::string head = head_of(tensors, metadata);
  const auto bytes = as_bytes(head);
  return {.head = {bytes.begin(), bytes.end()}, .parts = parts_of(tensors)};
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorInfo>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : TensorStream(path, as_bytes(head_of(tensors, metadata)), parts_of(tensors)) {}

}  // namespace prentice

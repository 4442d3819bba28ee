#include <cassert>
#include <cstring>

#include "io/json.h"
#include "io/safetensors.h"

namespace prentice {

namespace {

// `{` first and space-padded to a multiple of 8, so that the data is aligned.
std::string header_of(const std::vector<TensorInfo>& tensors, const std::map<std::string, std::string>& metadata) {
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
  return text;
}

uint64_t file_bytes(const std::vector<TensorInfo>& tensors) {
  uint64_t total = 8;
  for (const auto& tensor : tensors) total += tensor_bytes(tensor.dtype, tensor.shape) + tensor.name.size() + 100;
  return total;
}

[[noreturn]] void fail_order(const std::filesystem::path& path, const std::string& message) {
  fail(ExitCode::internal, path.string() + ": " + message);
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorInfo> tensors,
                                     std::map<std::string, std::string> metadata)
    : tensors_(std::move(tensors)), file_(path, file_bytes(tensors_)) {
  const auto header = header_of(tensors_, metadata);
  const uint64_t length = header.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(header);
}

void SafetensorsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  if (next_ == tensors_.size() || tensors_[next_].name != name) {
    fail_order(file_.path(), "tensor " + std::string(name) + " is not the next one declared");
  }
  const uint64_t wanted = tensor_bytes(tensors_[next_].dtype, tensors_[next_].shape);
  if (bytes.size() > wanted - written_of_next_) {
    fail_order(file_.path(),
               "tensor " + std::string(name) + " gets more than its " + std::to_string(wanted) + " bytes");
  }
  file_.write(bytes);
  written_of_next_ += bytes.size();
  if (written_of_next_ == wanted) ++next_, written_of_next_ = 0;
}

void SafetensorsWriter::finish() {
  if (next_ != tensors_.size()) fail_order(file_.path(), "tensor " + tensors_[next_].name + " is incomplete");
  file_.finish();
}

}  // namespace prentice

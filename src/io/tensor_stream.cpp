#include "io/tensor_stream.h"

#include "core/error.h"

namespace prentice {

namespace {

uint64_t bytes_of(const std::vector<TensorStream::Part>& parts) {
  uint64_t total = 0;
  for (const auto& part : parts) total += part.bytes + part.padding;
  return total;
}

[[noreturn]] void fail_order(const std::filesystem::path& path, const std::string& message) {
  fail(ExitCode::internal, path.string() + ": tensor " + message);
}

}  // namespace

TensorStream::TensorStream(const std::filesystem::path& path, std::span<const std::byte> head, std::vector<Part> parts)
    : parts_(std::move(parts)), file_(path, head.size() + bytes_of(parts_)) {
  file_.write(head);
}

void TensorStream::write(std::string_view name, std::span<const std::byte> bytes) {
  if (next_ == parts_.size() || parts_[next_].name != name) {
    fail_order(file_.path(), std::string(name) + " is not the next one declared");
  }
  const Part& part = parts_[next_];
  if (bytes.size() > part.bytes - written_of_next_) {
    fail_order(file_.path(), part.name + " gets more than its " + std::to_string(part.bytes) + " bytes");
  }
  file_.write(bytes);
  written_of_next_ += bytes.size();
  if (written_of_next_ < part.bytes) return;
  if (part.padding > 0) file_.write(std::vector<std::byte>(part.padding));
  ++next_;
  written_of_next_ = 0;
}

void TensorStream::finish() {
  if (next_ != parts_.size()) fail_order(file_.path(), parts_[next_].name + " is incomplete");
  file_.finish();
}

}  // namespace prentice

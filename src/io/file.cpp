#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace prentice {

void fail_system(const std::string& action, const std::filesystem::path& path, int error) {
  if (error == ENOENT || error == ENOTDIR) fail(ExitCode::usage, path.string() + ": does not exist");
  if (error == EACCES || error == EPERM) {
    fail(ExitCode::usage, path.string() + ": cannot " + action + ": permission denied");
  }
  fail(ExitCode::storage, path.string() + ": cannot " + action + ": " + std::strerror(error),
       error == ENOSPC || error == EDQUOT ? "free some space there, then run the same command again" : "");
}

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a FIFO that stands where a file should be must not hang.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail_system("open", path_, errno);
  struct stat status {};
  const int error = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  if (error == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);  // a constructor that throws runs no destructor
  if (error != 0) fail_system("stat", path_, error);
  const char* found = S_ISDIR(status.st_mode) ? "a folder" : "something else";
  fail(ExitCode::usage, path_.string() + ": expected a file, found " + found);
}

InputFile::~InputFile() { ::close(descriptor_); }

size_t InputFile::read(std::span<std::byte> buffer) {
  while (true) {
    const ssize_t count = ::read(descriptor_, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) fail_system("read", path_, errno);
  }
}

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const InputFile file(path);
  MappedFile mapped;
  mapped.path_ = path;
  mapped.size_ = file.size();
  if (mapped.size_ == 0) return mapped;  // an empty mapping is an error of mmap, an empty file is not
  void* data = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data == MAP_FAILED) fail_system("map", path, errno);
  mapped.data_ = data;
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void MappedFile::release_pages() const {
  if (data_ != nullptr) ::madvise(data_, size_, MADV_DONTNEED);
}

OutputFile::OutputFile(std::filesystem::path path, uint64_t expected_bytes)
    : path_(std::move(path)), expected_bytes_(expected_bytes) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail_storage("create", errno);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      expected_bytes_(other.expected_bytes_),
      written_(other.written_),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(path_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_storage("write", errno);
    written_ += static_cast<uint64_t>(count);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void OutputFile::write(std::string_view text) { write(as_bytes(text)); }

void OutputFile::finish() {
  if (::fsync(descriptor_) != 0) fail_storage("fsync", errno);
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed == 0) return;
  const int error = errno;
  ::unlink(path_.c_str());
  fail_storage("close", error);
}

void OutputFile::fail_storage(const char* action, int error) const {
  const auto start = path_.string() + ": cannot " + action + ": ";
  if (error != ENOSPC && error != EDQUOT) {
    fail(ExitCode::storage, start + std::strerror(error));
  }
  std::string message = start + (error == EDQUOT ? "the disk quota is used up" : "no space left");
  if (expected_bytes_ > written_) {
    const uint64_t wanted = expected_bytes_ - written_, available = free_bytes(path_);
    message += ", " + std::to_string(wanted > available ? wanted - available : wanted) + " bytes are missing";
  }
  fail(ExitCode::storage, message, "free some space there, or choose another folder");
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes) {
  InputFile file(path);
  if (file.size() > max_bytes) {
    fail(ExitCode::usage, path.string() + ": " + std::to_string(file.size()) + " bytes, at most " +
                              std::to_string(max_bytes) + " are read");
  }
  std::string text(file.size(), '\0');
  const auto buffer = std::as_writable_bytes(std::span(text));
  size_t done = 0;
  while (done < text.size()) {
    const size_t count = file.read(buffer.subspan(done));
    if (count == 0) break;  // the file shrank meanwhile
    done += count;
  }
  text.resize(done);
  return text;
}

void write_file_durably(const std::filesystem::path& path, std::string_view text) {
  write_file_durably(path, as_bytes(text));
}

void write_file_durably(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  OutputFile file(path, bytes.size());
  file.write(bytes);
  file.finish();
}

uint64_t free_bytes(const std::filesystem::path& path) {
  std::error_code ignored;
  auto existing = std::filesystem::absolute(path, ignored);
  while (existing.has_relative_path() && !std::filesystem::exists(existing, ignored)) existing = existing.parent_path();
  struct statvfs status {};
  if (::statvfs(existing.c_str(), &status) != 0) fail_system("ask for the free space of", existing, errno);
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

void require_free_bytes(const std::filesystem::path& path, uint64_t bytes) {
  const uint64_t available = free_bytes(path);
  if (available >= bytes) return;
  fail(ExitCode::storage,
       path.string() + ": " + std::to_string(bytes) + " bytes are needed, " + std::to_string(available) +
           " are free, " + std::to_string(bytes - available) + " bytes are missing",
       "free some space there, or choose another folder");
}

bool is_plain_relative_name(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.size() > 4096) return false;
  if (name.find('\0') != std::string_view::npos || name.find('\\') != std::string_view::npos) return false;
  for (size_t start = 0; start <= name.size();) {
    const size_t end = std::min(name.find('/', start), name.size());
    const auto part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = end + 1;
  }
  return true;
}

}  // namespace prentice

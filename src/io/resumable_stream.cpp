#include "io/resumable_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/error.h"
#include "io/file.h"
#include "io/lines.h"
#include "io/publish.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr size_t kWrittenAtOnce = size_t{4} << 20;

// At `place`, or where there is none at the end of a file that was opened for appending. Returns 0 or what went wrong.
int write_all(int file, std::span<const std::byte> bytes, std::optional<uint64_t> place) {
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), size_t{1} << 30);
    const ssize_t count =
        place ? ::pwrite(file, bytes.data(), size, static_cast<off_t>(*place)) : ::write(file, bytes.data(), size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (place) *place += static_cast<uint64_t>(count);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return 0;
}

struct Line {
  std::string tensor, sha256, note;
};

// A line "NAME\tHASH\tNOTE". Returns whether it is one.
bool read_line(std::string_view text, Line& line) {
  const size_t first = text.find('\t'), second = text.find('\t', first + 1);
  if (first == text.npos || second == text.npos) return false;
  line = {std::string(text.substr(0, first)), std::string(text.substr(first + 1, second - first - 1)),
          std::string(text.substr(second + 1))};
  return true;
}

// The lines of a log whose first one is `key`, as far as they can be read; those of another have none.
std::vector<Line> lines_of(const fs::path& log, const std::string& key) {
  std::vector<Line> lines;
  if (!fs::exists(log)) return lines;
  bool first = true, readable = true;
  for_each_line(log, [&](std::string_view text) {
    Line line;
    if (readable) readable = first ? text == key : read_line(text, line);
    if (readable && !first) lines.push_back(std::move(line));
    first = false;
  });
  return lines;
}

std::string text_of(const Line& line) { return line.tensor + "\t" + line.sha256 + "\t" + line.note + "\n"; }

}  // namespace

Descriptor::~Descriptor() {
  if (number >= 0) ::close(number);
}

ResumableStream::ResumableStream(const fs::path& path, StreamLayout layout, const ResumeLog& log)
    : path_(path), head_(std::move(layout.head)), parts_(std::move(layout.parts)), place_(head_.size()) {
  const int exclusive = log.path.empty() ? O_EXCL : 0;
  file_.number = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | exclusive, 0666);
  if (file_.number < 0) fail_system("create", path_, errno);
  if (!log.path.empty()) open_log(log);
  if (::ftruncate(file_.number, static_cast<off_t>(place_)) != 0) fail_system("write", path_, errno);
  put(head_, 0);
}

ResumableStream::~ResumableStream() {
  if (writer_.valid()) writer_.wait();
  if (!finished_ && log_.number < 0) ::unlink(path_.c_str());
}

// The head says which tensors of which types at which places follow, and is therefore part of the key.
void ResumableStream::open_log(const ResumeLog& log) {
  std::error_code error;
  fs::create_directories(log.path.parent_path(), error);
  Sha256 hash;
  hash.update_sized(log.key);
  hash.update_sized(head_);
  const std::string key = hash.hex();
  std::string kept = key + "\n";
  for (const auto& line : lines_of(log.path, key)) {
    if (next_ == parts_.size() || line.tensor != parts_[next_].name || !is_whole(next_, line.sha256)) break;
    notes_.push_back(line.note);
    kept += text_of(line);
    place_ += parts_[next_].bytes + parts_[next_].padding;
    ++next_;
  }
  publish_file(log.path, kept);  // by a rename: a kill leaves the old one or this one
  log_.number = ::open(log.path.c_str(), O_WRONLY | O_CLOEXEC | O_APPEND);
  if (log_.number < 0) fail_system("open", log.path, errno);
}

void ResumableStream::write_line(const std::string& text) {
  if (const int error = write_all(log_.number, as_bytes(text), std::nullopt)) fail_write(error, place_);
}

// Whether the bytes at place_ are those of the tensor and its padding.
bool ResumableStream::is_whole(size_t tensor, const std::string& sha256) {
  std::vector<std::byte> room(size_t{1} << 20);
  Sha256 hash;
  const uint64_t end = place_ + parts_[tensor].bytes + parts_[tensor].padding;
  for (uint64_t place = place_; place < end;) {
    const ssize_t count =
        ::pread(file_.number, room.data(), std::min<uint64_t>(room.size(), end - place), static_cast<off_t>(place));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_system("read", path_, errno);
    if (count == 0) return false;
    hash.update(std::span(room).first(static_cast<size_t>(count)));
    place += static_cast<uint64_t>(count);
  }
  return hash.hex() == sha256;
}

void ResumableStream::write(std::string_view name, std::span<const std::byte> bytes, std::string_view note) {
  const auto out_of_turn = [&](const std::string& what) {
    fail(ExitCode::internal, fmt::format("{}: tensor {} {}", path_.string(), name, what));
  };
  if (next_ == parts_.size() || parts_[next_].name != name) out_of_turn("is not the next one declared");
  const TensorStream::Part& part = parts_[next_];
  if (bytes.size() > part.bytes - written_of_next_) out_of_turn(fmt::format("gets more than its {} bytes", part.bytes));
  given_.insert(given_.end(), bytes.begin(), bytes.end());
  written_of_next_ += bytes.size();
  if (written_of_next_ < part.bytes) {
    if (given_.size() >= kWrittenAtOnce) hand_over(std::nullopt);
    return;
  }
  given_.resize(given_.size() + part.padding);
  hand_over(std::string(note));
  ++next_;
  written_of_next_ = 0;
}

// The writer takes what was given so far and, with a note, the end of its tensor.
void ResumableStream::hand_over(std::optional<std::string> note) {
  if (writer_.valid()) writer_.get();
  std::swap(given_, written_);
  given_.clear();
  const uint64_t place = std::exchange(place_, place_ + written_.size());
  // Without a policy: where no thread can be had it is done at the next get().
  writer_ = std::async([this, place, tensor = next_, note = std::move(note)] {
    put(written_, place);
    if (log_.number < 0) return;
    if (!hash_) hash_.emplace();
    hash_->update(written_);
    if (!note) return;
    write_line(text_of({parts_[tensor].name, hash_->hex(), *note}));
    hash_.reset();
  });
}

// The disk begins at once, so that finish() has little to wait for.
void ResumableStream::put(std::span<const std::byte> bytes, uint64_t place) {
  if (const int error = write_all(file_.number, bytes, place)) fail_write(error, place);
  ::sync_file_range(file_.number, static_cast<off_t>(place), static_cast<off_t>(bytes.size()), SYNC_FILE_RANGE_WRITE);
}

void ResumableStream::finish() {
  if (next_ != parts_.size())
    fail(ExitCode::internal, fmt::format("{}: tensor {} is incomplete", path_.string(), parts_[next_].name));
  if (writer_.valid()) writer_.get();
  if (::fsync(file_.number) != 0) fail_write(errno, place_);
  finished_ = true;
}

void ResumableStream::fail_write(int error, uint64_t place) const {
  if (error != ENOSPC && error != EDQUOT) fail_system("write", path_, error);
  uint64_t end = head_.size();
  for (const auto& part : parts_) end += part.bytes + part.padding;
  const uint64_t wanted = end - std::min(end, place), available = free_bytes(path_);
  fail(ExitCode::storage,
       fmt::format("{}: cannot write: {}, {} bytes are missing", path_.string(),
                   error == EDQUOT ? "the disk quota is used up" : "no space left",
                   wanted > available ? wanted - available : wanted),
       "free some space there, or choose another folder");
}

}  // namespace prentice

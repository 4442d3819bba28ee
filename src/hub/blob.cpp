#include "hub/blob.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/error.h"
#include "io/file.h"
#include "io/publish.h"
#include "io/sha256.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

uint64_t size_of(const fs::path& path) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  return error ? 0 : bytes;
}

fs::path incomplete(const BlobPlace& place) { return place.blob.string() + ".incomplete"; }

// SHA-1 of git's blob object: "blob SIZE\0" and the bytes. Such files are small (the hub keeps large ones by SHA-256).
std::string git_blob_hash(const fs::path& path) {
  const MappedFile file = MappedFile::open(path);
  const std::string head = fmt::format("blob {}", file.bytes().size());
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha1(), nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1) != 1 ||
      EVP_DigestUpdate(context.get(), file.bytes().data(), file.bytes().size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), digest, &size) != 1) {
    fail(ExitCode::internal, "OpenSSL offers no SHA-1");
  }
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

bool is_sha256(const HubFile& file) { return file.hash.size() == 64; }

// Held while a file is fetched; the same file and lock as huggingface_hub's, so that both may run at once.
class BlobLock {
 public:
  BlobLock(const Hub& hub, const BlobPlace& place, const HubFile& file) {
    descriptor_ = ::open(place.lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_system("open", place.lock, errno);
    bool told = false;
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (const int reason = errno; reason != EWOULDBLOCK && reason != EINTR) {
        ::close(descriptor_);
        fail_system("lock", place.lock, reason);
      }
      if (!told) hub.note(file.name + ": another process is fetching it; waiting");
      told = true;
      hub.leave_if_stopped();
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }
  ~BlobLock() { ::close(descriptor_); }
  BlobLock(const BlobLock&) = delete;

 private:
  int descriptor_ = -1;
};

// The bytes that have arrived so far, and their SHA-256 while they arrive. Stays behind when the work ends early.
class PartialFile {
 public:
  PartialFile(const BlobPlace& place, const HubFile& file) : path_(incomplete(place)), wanted_(file.bytes) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_system("open", path_, errno);
    if (size_of(path_) > wanted_) restart();
    std::vector<std::byte> buffer(size_t{1} << 20);
    for (ssize_t count; (count = ::read(descriptor_, buffer.data(), buffer.size())) > 0;) {
      hash_->update(std::span(buffer).first(static_cast<size_t>(count)));
      written_ += static_cast<uint64_t>(count);
    }
  }
  ~PartialFile() { ::close(descriptor_); }
  PartialFile(const PartialFile&) = delete;

  uint64_t size() const { return written_; }
  std::string sha256() { return hash_->hex(); }  // once, last
  const fs::path& path() const { return path_; }

  void restart() {
    if (::ftruncate(descriptor_, 0) != 0) error_ = errno;
    ::lseek(descriptor_, 0, SEEK_SET);
    written_ = 0;
    hash_.emplace();
  }

  // False when nothing more is wanted: an error of the disk (see check), or more bytes than the file has.
  bool append(std::span<const std::byte> bytes) {
    if (written_ + bytes.size() > wanted_) too_long_ = true;
    while (!bytes.empty() && error_ == 0 && !too_long_) {
      const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        error_ = errno;
        break;
      }
      hash_->update(bytes.first(static_cast<size_t>(count)));
      written_ += static_cast<uint64_t>(count);
      bytes = bytes.subspan(static_cast<size_t>(count));
    }
    return error_ == 0 && !too_long_;
  }

  // Errors: `storage` for what append met on the disk.
  void check() const {
    if (error_ == 0) return;
    const bool full = error_ == ENOSPC || error_ == EDQUOT;
    fail(ExitCode::storage,
         fmt::format("{}: cannot write: {}{}", path_.string(), std::strerror(error_),
                     full ? fmt::format(", {} bytes are missing", wanted_ - written_) : ""),
         "free some space there, or name another cache in HF_HOME; the same command continues");
  }
  bool too_long() const { return too_long_; }

 private:
  fs::path path_;
  uint64_t wanted_, written_ = 0;
  std::optional<Sha256> hash_{std::in_place};
  int descriptor_ = -1, error_ = 0;
  bool too_long_ = false;
};

// Whether an answer that carries a part begins where the file ends so far: "bytes 500-999/1000".
bool continues_at(const HttpReply& reply, uint64_t from) {
  return reply.header("content-range").starts_with(fmt::format("bytes {}-", from));
}

// Attempts until all bytes are here. One that gets further than all before it counts as the first again. Returns how
// many arrived, those of failed attempts included.
uint64_t receive(Hub& hub, const BlobPlace& place, const HubFile& file, PartialFile& partial,
                 const std::function<void(uint64_t)>& tell) {
  uint64_t furthest = partial.size(), arrived = 0;
  for (int attempt = 1; partial.size() < file.bytes; ++attempt) {
    const uint64_t from = partial.size();
    bool begun = false, misplaced = false;
    const HttpReply reply = hub.fetch(place.model, place.commit, file.name, from,
                                      [&](const HttpReply& answer, std::span<const std::byte> bytes) {
                                        if (!begun && answer.status == 206) misplaced = !continues_at(answer, from);
                                        if (!begun && answer.status == 200) partial.restart();
                                        begun = true;
                                        arrived += bytes.size();
                                        if (misplaced || !partial.append(bytes)) return false;
                                        tell(partial.size());
                                        return true;
                                      });
    hub.leave_if_stopped();
    partial.check();
    if (partial.too_long() || (reply.ok() && !misplaced && partial.size() < file.bytes)) {
      fail(ExitCode::model, fmt::format("{}: {}: expected {} bytes, {}", place.model, file.name, file.bytes,
                                        partial.too_long() ? "more arrive" : fmt::format("got {}", partial.size())));
    }
    if (partial.size() == file.bytes) break;
    if (partial.size() > furthest) attempt = 1;
    furthest = std::max(furthest, partial.size());
    if (from > 0 && (misplaced || reply.status == 416)) {
      partial.restart();  // the server does not continue this file
      furthest = 0;
      continue;
    }
    hub.wait_or_fail(reply, attempt, place.model);
  }
  return arrived;
}

bool matches(const fs::path& path, const HubFile& file) {
  if (size_of(path) != file.bytes) return false;
  return (is_sha256(file) ? cached_sha256_file(path) : git_blob_hash(path)) == file.hash;
}

}  // namespace

uint64_t bytes_at_hand(const BlobPlace& place, const HubFile& file) {
  std::error_code error;
  if (fs::exists(place.blob, error)) return size_of(place.blob) == file.bytes ? file.bytes : 0;
  const uint64_t partial = size_of(incomplete(place));
  return partial > file.bytes ? 0 : partial;
}

uint64_t fetch_blob(Hub& hub, const BlobPlace& place, const HubFile& file, const std::function<void(uint64_t)>& tell) {
  const BlobLock lock(hub, place, file);
  std::error_code error;
  if (fs::exists(place.blob, error)) {
    if (matches(place.blob, file)) {
      tell(file.bytes);
      return 0;
    }
    hub.note(file.name + ": the copy in the cache is damaged; fetching it again");
    fs::remove(place.blob, error);
  }
  uint64_t arrived = 0;
  for (bool again = false;; again = true) {
    const bool continued = bytes_at_hand(place, file) > 0;
    {
      PartialFile partial(place, file);
      tell(partial.size());
      arrived += receive(hub, place, file, partial, tell);
      const std::string hash = is_sha256(file) ? partial.sha256() : git_blob_hash(partial.path());
      if (hash == file.hash) break;
      fs::remove(partial.path(), error);
      if (!continued || again) {
        fail(ExitCode::model,
             fmt::format("{}: {}: expected the hash {}, got {}", place.model, file.name, file.hash, hash),
             "what arrived is not what the hub announced, and was removed; try again, or look for a proxy between");
      }
    }
    hub.note(file.name + ": what an earlier attempt left is damaged; fetching it again");
  }
  fsync_file(incomplete(place));
  fs::rename(incomplete(place), place.blob, error);
  if (error) fail_system("rename to", place.blob, error.value());
  fsync_folder(place.blob.parent_path());
  return arrived;
}

}  // namespace prentice

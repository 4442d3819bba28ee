#include "io/publish.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <system_error>

#include "io/file.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// "runs/a/" and "runs/a" are the same place; without this the name of the first would be empty.
fs::path without_trailing_slash(fs::path path) { return path.has_filename() ? path : path.parent_path(); }

std::string new_nonce() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::random_device random;
  std::string nonce;
  for (int i = 0; i < 12; ++i) nonce += kHex[random() & 15];
  return nonce;
}

void create_parents(const fs::path& path) {
  std::error_code error;
  fs::create_directories(parent_of(path), error);
  if (error) {
    fail(ExitCode::storage, parent_of(path).string() + ": cannot create the folder: " + error.message());
  }
}

void fsync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (descriptor < 0) fail_system("open", path, errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some network file systems cannot fsync a folder and say so with EINVAL.
  if (error != 0 && !(error == EINVAL && (flags & O_DIRECTORY))) fail_system("fsync", path, error);
}

void fsync_tree(const fs::path& folder) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_symlink()) continue;
    if (entry->is_directory()) fsync_folder(entry->path());
    if (entry->is_regular_file()) fsync_file(entry->path());
  }
  if (error) fail_system("list", folder, error.value());
  fsync_folder(folder);
}

void rename_without_replacing(const fs::path& from, const fs::path& to) {
  if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
  int error = errno;
  // A file system without the flag: a plain rename, under the lock that the run holds.
  if (error == EINVAL || error == ENOSYS || error == ENOTSUP) {
    std::error_code ignored;
    error = EEXIST;
    if (!fs::exists(fs::symlink_status(to, ignored))) {
      error = ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
    }
  }
  if (error == 0) return;
  if (error == EEXIST || error == ENOTEMPTY) fail(ExitCode::usage, to.string() + ": exists already");
  fail_system("rename " + from.string() + " to it", to, error);
}

// Swaps the two in one step, so that a kill leaves either the old or the new under the final name. False where the file
// system cannot.
bool exchange(const fs::path& from, const fs::path& to) {
  if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP) return false;
  fail_system("rename " + from.string() + " to it", to, errno);
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  if (!path.empty()) fs::remove_all(path, ignored);
}

}  // namespace

fs::path temporary_path(const fs::path& final_path, const std::string& nonce) {
  return parent_of(final_path) / (std::string(kTemporaryPrefix) + final_path.filename().string() + "-" + nonce);
}

TempFolder::TempFolder(fs::path final_path) : TempFolder(std::move(final_path), new_nonce()) {}

TempFolder::TempFolder(fs::path final_path, const std::string& nonce)
    : final_path_(without_trailing_slash(std::move(final_path))), path_(temporary_path(final_path_, nonce)) {
  create_parents(final_path_);
  std::error_code error;
  fs::create_directory(path_, error);
  if (error || !fs::is_directory(fs::symlink_status(path_, error))) {
    fail(ExitCode::storage, path_.string() + ": cannot create the folder: " + error.message());
  }
}

TempFolder::TempFolder(TempFolder&& other) noexcept
    : final_path_(std::move(other.final_path_)), path_(std::exchange(other.path_, {})) {}

TempFolder::~TempFolder() { remove_quietly(path_); }

void TempFolder::publish(IfExists if_exists) {
  fsync_tree(path_);
  std::error_code ignored;
  const bool taken = if_exists == IfExists::replace && fs::exists(fs::symlink_status(final_path_, ignored));
  fs::path aside;
  if (taken && exchange(path_, final_path_)) {
    aside = path_;
  } else {
    if (taken) rename_without_replacing(final_path_, aside = temporary_path(final_path_, new_nonce()));
    rename_without_replacing(path_, final_path_);
  }
  path_.clear();
  fsync_folder(parent_of(final_path_));
  remove_quietly(aside);
}

TempFile::TempFile(fs::path final_path) : TempFile(std::move(final_path), new_nonce()) {}

TempFile::TempFile(fs::path final_path, const std::string& nonce)
    : final_path_(std::move(final_path)), path_(temporary_path(final_path_, nonce)) {
  create_parents(final_path_);
}

TempFile::TempFile(TempFile&& other) noexcept
    : final_path_(std::move(other.final_path_)), path_(std::exchange(other.path_, {})) {}

TempFile::~TempFile() { remove_quietly(path_); }

void TempFile::publish(IfExists if_exists) {
  fsync_file(path_);
  if (if_exists == IfExists::refuse) {
    rename_without_replacing(path_, final_path_);
  } else if (::rename(path_.c_str(), final_path_.c_str()) != 0) {
    fail_system("rename " + path_.string() + " to it", final_path_, errno);
  }
  path_.clear();
  fsync_folder(parent_of(final_path_));
}

void publish_file(const fs::path& final_path, std::string_view text, IfExists if_exists) {
  TempFile file(final_path);
  write_file_durably(file.path(), text);
  file.publish(if_exists);
}

std::vector<std::string> remove_leftovers(const fs::path& parent) { return remove_leftovers(parent, {}); }

std::vector<std::string> remove_leftovers(const fs::path& parent, const std::vector<std::string>& keep) {
  std::vector<std::string> leftovers, removed;
  std::error_code error;
  for (fs::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (name.starts_with(kTemporaryPrefix) && std::ranges::count(keep, name) == 0) leftovers.push_back(name);
  }
  std::ranges::sort(leftovers);
  for (const auto& name : leftovers) {
    std::error_code failed;
    fs::remove_all(parent / name, failed);
    if (!failed) removed.push_back(name);
  }
  return removed;
}

void fsync_file(const fs::path& path) { fsync_path(path, 0); }
void fsync_folder(const fs::path& path) { fsync_path(path, O_DIRECTORY); }

}  // namespace prentice

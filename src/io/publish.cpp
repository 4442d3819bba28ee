#include "io/publish.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <system_error>
#include <utility>

#include "core/error.h"
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

bool is_lacking(int error) { return error == EINVAL || error == ENOSYS || error == ENOTSUP; }

int rename_with(unsigned flags, const fs::path& from, const fs::path& to) {
  return ::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

// In one step, so that a kill leaves either the old or the new under the final name.
int swap_names(const fs::path& a, const fs::path& b) { return rename_with(RENAME_EXCHANGE, a, b); }

int move_to_free_name(const fs::path& from, const fs::path& to) {
  const int error = rename_with(RENAME_NOREPLACE, from, to);
  if (!is_lacking(error)) return error;
  // A file system without the flag: a plain rename, under the lock that the run holds.
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(to, ignored))) return EEXIST;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

[[noreturn]] void fail_rename(const fs::path& from, const fs::path& to, int error) {
  if (error == EEXIST || error == ENOTEMPTY) fail(ExitCode::usage, to.string() + ": exists already");
  fail_system("rename " + from.string() + " to it", to, error);
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  if (!path.empty()) fs::remove_all(path, ignored);
}

}  // namespace

const Renames kSystemRenames{swap_names, move_to_free_name};

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

// Returns where the old folder is now. In two steps it has no name that remove_leftovers takes: a kill in between, or a
// failure that cannot be undone, leaves it.
fs::path TempFolder::replace(const Renames& renames) {
  if (const int error = renames.swap(path_, final_path_); !is_lacking(error)) {
    if (error != 0) fail_rename(path_, final_path_, error);
    return path_;
  }
  const fs::path aside = final_path_.string() + ".old-" + new_nonce();
  if (const int error = renames.move(final_path_, aside)) fail_rename(final_path_, aside, error);
  const int error = renames.move(path_, final_path_);
  if (error == 0) return aside;
  if (renames.move(aside, final_path_) == 0) fail_rename(path_, final_path_, error);
  const fs::path made = std::exchange(path_, {});
  fail(ExitCode::storage,
       final_path_.string() + ": cannot be replaced: " + std::strerror(error) + "; what stood there is now " +
           aside.string() + ", and what was to take its place " + made.string(),
       "rename the one that is wanted to " + final_path_.string());
}

void TempFolder::publish(IfExists if_exists, const Renames& renames) {
  fsync_tree(path_);
  std::error_code ignored;
  const bool taken = if_exists == IfExists::replace && fs::exists(fs::symlink_status(final_path_, ignored));
  fs::path aside;
  if (taken) {
    aside = replace(renames);
  } else if (const int error = renames.move(path_, final_path_)) {
    fail_rename(path_, final_path_, error);
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
    if (const int error = move_to_free_name(path_, final_path_)) fail_rename(path_, final_path_, error);
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

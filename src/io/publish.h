// Publish by rename: a folder or file appears under its final name whole, durable, or not at all.
// Separate from file.h because this is the protocol (write, sync, rename, sync the folder) and not the system calls.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace prentice {

inline constexpr std::string_view kTemporaryPrefix = ".tmp-";

enum class IfExists { refuse, replace };

// The system's renames, each of which returns 0 or errno. In the place of these a test puts a file system that lacks
// one, or where one fails.
struct Renames {
  int (*swap)(const std::filesystem::path& a, const std::filesystem::path& b);  // EINVAL, ENOSYS, ENOTSUP: it has none
  int (*move)(const std::filesystem::path& from, const std::filesystem::path& to);  // EEXIST: never over another
};
extern const Renames kSystemRenames;

// A folder under construction beside its final place, named .tmp-NAME-<nonce>. Destroyed unpublished, it is removed,
// unless keep() was called, for another process that asks for the same nonce.
class TempFolder {
 public:
  explicit TempFolder(std::filesystem::path final_path);  // creates missing parents. Errors: `storage`
  // Under a nonce that another process may have worked under: what stands there is taken over.
  TempFolder(std::filesystem::path final_path, const std::string& nonce);
  TempFolder(TempFolder&& other) noexcept;
  TempFolder& operator=(TempFolder&&) = delete;
  ~TempFolder();

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& final_path() const { return final_path_; }
  // Fsyncs every file and folder inside, renames, fsyncs the parent. With `replace` an existing folder changes
  // places with this one in one step and is removed after; where the file system cannot, it goes to NAME.old-<nonce>
  // first, and back when the second step fails. Errors: `storage`; with `refuse` `usage` when the final name is taken.
  void publish(IfExists if_exists = IfExists::refuse, const Renames& renames = kSystemRenames);
  void keep() { path_.clear(); }

 private:
  std::filesystem::path replace(const Renames&);

  std::filesystem::path final_path_, path_;
};

// The same for one file: write to path(), then publish().
class TempFile {
 public:
  explicit TempFile(std::filesystem::path final_path);
  TempFile(std::filesystem::path final_path, const std::string& nonce);
  TempFile(TempFile&& other) noexcept;
  TempFile& operator=(TempFile&&) = delete;
  ~TempFile();

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& final_path() const { return final_path_; }
  void publish(IfExists if_exists = IfExists::refuse);
  void keep() { path_.clear(); }

 private:
  std::filesystem::path final_path_, path_;
};

// Where the two above work under a nonce.
std::filesystem::path temporary_path(const std::filesystem::path& final_path, const std::string& nonce);

// Writes `text` under a temporary name and publishes it.
void publish_file(const std::filesystem::path& final_path, std::string_view text,
                  IfExists if_exists = IfExists::replace);

// Deletes what killed runs left in `parent` (entries that start with .tmp-), but for those named in `keep`; returns
// their names. A parent that does not exist has none. Errors: none; what cannot be deleted is left and not returned.
std::vector<std::string> remove_leftovers(const std::filesystem::path& parent);
std::vector<std::string> remove_leftovers(const std::filesystem::path& parent, const std::vector<std::string>& keep);

void fsync_file(const std::filesystem::path& path);    // errors: `storage`
void fsync_folder(const std::filesystem::path& path);  // errors: `storage`

}  // namespace prentice

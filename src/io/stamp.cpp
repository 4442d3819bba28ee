#include "io/stamp.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "core/error.h"
#include "io/file.h"

namespace prentice {

namespace {

constexpr std::string_view kBlank = "prentice: not filled in ";

// One byte of JSON and of GGUF each, so that no length changes.
std::string in_width(std::string_view text) {
  std::string line(text.substr(0, kStampWidth));
  std::ranges::replace_if(
      line, [](char c) { return c < ' ' || c > '~' || c == '"' || c == '\\'; }, '?');
  line.resize(kStampWidth, ' ');
  return line;
}

size_t place_of(std::string_view bytes, std::string_view blank) {
  const auto found =
      std::search(bytes.begin(), bytes.end(), std::boyer_moore_horspool_searcher(blank.begin(), blank.end()));
  return found == bytes.end() ? bytes.npos : static_cast<size_t>(found - bytes.begin());
}

}  // namespace

std::string blank_stamp() {
  std::string blank(kBlank);
  blank.resize(kStampWidth, '.');
  return blank;
}

void fill_stamp(const std::filesystem::path& path, std::string_view text) {
  const size_t place = place_of(MappedFile::open(path).text(), blank_stamp());
  if (place == std::string_view::npos) return;
  const std::string line = in_width(text);
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) fail_system("open", path, errno);
  const bool written =
      ::pwrite(file, line.data(), line.size(), static_cast<off_t>(place)) == static_cast<ssize_t>(line.size()) &&
      ::fdatasync(file) == 0;
  const int error = errno;
  ::close(file);
  if (!written) fail_system("write", path, error);
}

}  // namespace prentice

#include "io/lines.h"

#include <string>

#include "io/file.h"

namespace prentice {

void for_each_line(const std::filesystem::path& path, const std::function<void(std::string_view)>& visit) {
  const MappedFile file = MappedFile::open(path);
  const std::string_view text = file.text();
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    visit(text.substr(begin, end - begin));
  }
}

void read_json_lines(const std::filesystem::path& path, ExitCode code, const std::function<void(const Json&)>& visit) {
  int64_t number = 0;
  for_each_line(path, [&](std::string_view line) {
    with_context(code, path.string() + ":" + std::to_string(++number), [&] { visit(Json::parse(line)); });
  });
}

}  // namespace prentice

// `explain` and `recipes`: what can be written, and what ships.
#include "config/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "cli/installation.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "config/read.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// recipes/ of a source tree or of an installed folder, else of the current folder; empty when there is none.
fs::path shipped_recipes() {
  const fs::path program = program_folder();
  std::error_code error;
  for (const fs::path& folder : {program / "../share/prentice/recipes", program / "../recipes", fs::path("recipes")}) {
    if (fs::is_directory(folder, error)) return fs::proximate(fs::weakly_canonical(folder));
  }
  return {};
}

struct Shipped {
  std::string path, kind, about;
};

// Kind and first two comments of a file: the command, and a sentence about it if there is one.
Shipped describe_file(const fs::path& file) {
  Shipped shipped{.path = file.string()};
  std::ifstream stream(file);
  std::vector<std::string> comments;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("# ")) comments.push_back(line.substr(2));
    if (line.starts_with("recipe:")) shipped.kind = line.substr(std::min(line.size(), line.find_first_not_of(' ', 7)));
    if (!line.empty() && line[0] != '#') break;
  }
  if (comments.size() > 1) shipped.about = comments[1];
  return shipped;
}

}  // namespace

int verb_explain(const Arguments& arguments) {
  if (arguments.words.size() > 1) fail(ExitCode::usage, "explain: expected one topic, got also " + arguments.words[1]);
  const std::string topic = arguments.words.empty() ? "" : arguments.words[0];
  if (arguments.json_schema) {
    print_result(json_schema(topic).dump(2) + "\n");
  } else if (arguments.flags.json) {
    print_result(explain_json(topic).dump() + "\n");
  } else {
    print_result(explain(topic));
  }
  return 0;
}

int verb_recipes(const Arguments& arguments) {
  const fs::path folder = shipped_recipes();
  if (folder.empty()) fail(ExitCode::usage, "recipes: no recipes folder beside the program or in the current folder");
  std::vector<Shipped> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".yaml") all.push_back(describe_file(entry.path()));
  }
  std::sort(all.begin(), all.end(), [](const Shipped& a, const Shipped& b) { return a.path < b.path; });
  if (arguments.flags.json) {
    Json::Array list;
    for (const auto& one : all)
      list.push_back(Json::Object{{"path", one.path}, {"kind", one.kind}, {"about", one.about}});
    print_result(Json(Json::Object{{"schema", 1}, {"recipes", std::move(list)}}).dump() + "\n");
    return 0;
  }
  size_t width = 0;
  for (const auto& one : all) width = std::max(width, one.path.size());
  for (const auto& one : all) print_result(fmt::format("{:<{}}  {:<9} {}\n", one.path, width, one.kind, one.about));
  print_result("\nprentice run FILE runs one, prentice plan FILE says what it takes, section.key=value changes it.\n");
  return 0;
}

}  // namespace prentice

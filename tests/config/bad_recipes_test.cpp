// Every file of tests/config/bad_recipes through the reader, against the messages in expected.txt beside them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "config/read.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = "tests/config/bad_recipes";

std::string without(std::string text, const std::string& part, const std::string& by) {
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + by.size()))
    text.replace(at, part.size(), by);
  return text;
}

// What `prentice validate FILE` says, with the project's folder left out.
std::string report(const fs::path& file) {
  std::string out;
  try {
    check_words(read_recipe_file(file.string()));
    return "accepted\n";
  } catch (const Error& error) {
    out = "exit " + std::to_string(static_cast<int>(error.code())) + '\n';
    for (const auto& diagnostic : error.diagnostics()) {
      out += "error: " + to_string(diagnostic) + '\n';
      if (!diagnostic.hint.empty()) out += "hint: " + diagnostic.hint + '\n';
    }
  }
  out = without(out, fs::current_path().string() + "/", "");
  return without(without(out, "tests/config/bad_recipes/", ""), "tests/config/fixtures/", "../fixtures/");
}

std::map<std::string, std::string> expected() {
  std::map<std::string, std::string> table;
  std::ifstream stream(kFolder / "expected.txt");
  std::string line, name;
  while (std::getline(stream, line)) {
    if (line.starts_with("== ")) {
      name = line.substr(3);
      table[name];
    } else if (!line.empty()) {
      table[name] += line + '\n';
    }
  }
  return table;
}

TEST(BadRecipes, EachHasItsExactMessageAndExitCode) {
  const auto table = expected();
  std::set<std::string> seen;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".yaml") continue;
    const std::string name = entry.path().filename().string();
    seen.insert(name);
    const auto found = table.find(name);
    EXPECT_NE(found, table.end()) << name << " is not in expected.txt; it says:\n" << report(entry.path());
    if (found != table.end()) {
      EXPECT_EQ(report(entry.path()), found->second) << name;
    }
  }
  EXPECT_EQ(seen.size(), table.size());
  EXPECT_GE(seen.size(), 40u);
}

}  // namespace
}  // namespace prentice

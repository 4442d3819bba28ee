#include "pages/report_tables.h"

#include <algorithm>
#include <string>

#include "io/sha256.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr size_t kAnswersShown = 12;

}  // namespace

ReportTable files_table(const fs::path& root, const std::vector<fs::path>& folders) {
  ReportTable table{.title = "Files", .header = {"file", "bytes", "SHA-256"}, .rows = {}};
  for (const auto& folder : folders) {
    std::vector<fs::path> files;
    for (const char* product : {"adapter", "merged", "gguf"}) {
      if (!fs::is_directory(folder / product)) continue;
      for (const auto& entry : fs::directory_iterator(folder / product)) {
        const auto kind = entry.path().extension();
        if (kind == ".safetensors" || kind == ".gguf") files.push_back(entry.path());
      }
    }
    std::ranges::sort(files);
    for (const auto& file : files) {
      table.rows.push_back(
          {file.lexically_relative(root).string(), std::to_string(fs::file_size(file)), cached_sha256_file(file)});
    }
  }
  return table;
}

ReportTable compared_answers_table(const std::vector<ComparedAnswer>& answers) {
  ReportTable table{.title = "Before and after", .header = {"input", "expected", "before", "after"}, .rows = {}};
  for (size_t i = 0; i < std::min(kAnswersShown, answers.size()); ++i) {
    const ComparedAnswer& answer = answers[i];
    table.rows.push_back({answer.prompt, answer.expected, answer.before, answer.after});
  }
  return table;
}

}  // namespace prentice

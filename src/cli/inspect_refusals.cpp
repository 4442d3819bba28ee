#include "cli/inspect_refusals.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "core/shell_word.h"
#include "core/utf8.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// The length of a header below 4 GiB, and its brace.
bool begins_like_safetensors(std::string_view begin) {
  return begin.size() > 8 && begin.substr(4, 4) == std::string_view("\0\0\0\0", 4) && begin[8] == '{';
}

// What torch.save writes is a zip archive that holds data.pkl; before that it was a bare pickle, which begins with its
// protocol, 2 to 5.
bool is_pickle(const fs::path& path, std::string_view begin) {
  if (begins_like_safetensors(begin)) return false;
  constexpr std::array<std::string_view, 6> kNames = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
  const bool is_named_so = std::ranges::find(kNames, path.extension().string()) != kNames.end();
  const bool is_zip = begin.starts_with(std::string_view("PK\3\4"));
  if (is_zip) return is_named_so || begin.find("data.pkl") != begin.npos;
  if (begin.size() > 1 && begin[0] == '\x80') return begin[1] >= 2 && begin[1] <= 5;
  return false;
}

struct TextKind {
  std::string_view extension, what;
  bool is_data;
};
constexpr TextKind kTexts[] = {
    {".jsonl", "JSON Lines", true}, {".ndjson", "JSON Lines", true}, {".json", "JSON", true},
    {".csv", "CSV", true},          {".tsv", "TSV", true},           {".txt", "text", true},
    {".md", "text", true},          {".yaml", "YAML", false},        {".yml", "YAML", false},
};

// A text is none of the files that are inspected, whose first bytes are counts: other verbs read it.
void refuse_text(const fs::path& path, std::string_view begin) {
  if (path.extension() == ".safetensors" || begin.empty() || begin.find('\0') != begin.npos) return;
  // The last character may be cut.
  if (first_bad_utf8(begin) < begin.size() - std::min<size_t>(begin.size(), 4)) return;
  const auto known = std::ranges::find(kTexts, path.extension().string(), &TextKind::extension);
  const bool is_known = known != std::end(kTexts);
  const std::string word = shell_word(path.string());
  std::string hint =
      "prentice init sft data.train=" + word + " looks at data; prentice audit RECIPE.yaml shows its rows";
  const auto lies_beside = [&](const char* name) {
    std::error_code error;
    return fs::exists(path.parent_path() / name, error);
  };
  if (std::ranges::any_of(std::array{"config.json", "adapter_config.json", "run.json", "manifest.json"}, lies_beside)) {
    hint = "prentice inspect " + shell_word(path.has_parent_path() ? path.parent_path().string() : ".");
  } else if (is_known && !known->is_data) {
    hint = "prentice validate " + word + " checks a recipe";
  }
  fail(ExitCode::usage,
       fmt::format("{}: a {} file; inspect reads safetensors, GGUF and Parquet files, and folders of models, adapters, "
                   "checkpoints, runs and teacher stores",
                   path.string(), is_known ? known->what : "text"),
       hint);
}

}  // namespace

void refuse_uninspected(const fs::path& path, std::string_view begin) {
  if (is_pickle(path, begin)) {
    fail(ExitCode::model, fmt::format("{}: a pickle can run code when it is read and is refused", path.string()),
         "convert it: python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('FILE', "
         "weights_only=True), 'out.safetensors')\"");
  }
  constexpr std::string_view kHdf5 = "\x89HDF\r\n";
  if (begin.starts_with(kHdf5) || path.extension() == ".h5" || path.extension() == ".hdf5") {
    fail(ExitCode::usage, path.string() + ": a file of a teacher store; the store is its folder",
         "prentice inspect " + shell_word(path.has_parent_path() ? path.parent_path().string() : "."));
  }
  refuse_text(path, begin);
}

}  // namespace prentice

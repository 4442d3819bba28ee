#include "text/vocab_merges.h"

#include <fmt/format.h>

#include "core/error.h"
#include "io/file.h"
#include "text/pre_tokenizer.h"

namespace prentice {
namespace {

// One merge a line, "a b", after an optional "#version" line.
Json::Array read_merges(const std::filesystem::path& path) {
  std::string text = read_text_file(path);
  Json::Array merges;
  std::string_view rest = text;
  for (int line = 1; !rest.empty(); ++line) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view entry = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (entry.ends_with('\r')) entry.remove_suffix(1);
    if (entry.empty() || (line == 1 && entry.starts_with("#version"))) continue;
    size_t space = entry.find(' ');
    if (space == std::string_view::npos || space == 0 || entry.find(' ', space + 1) != std::string_view::npos) {
      fail(ExitCode::model,
           fmt::format("{}:{}: a merge is two pieces and a space, got \"{}\"", path.string(), line, entry));
    }
    merges.push_back(Json::Array{Json(entry.substr(0, space)), Json(entry.substr(space + 1))});
  }
  return merges;
}

std::string class_name(const TokenizerFiles& files) {
  const Json* name = files.config.find("tokenizer_class");
  std::string found = name && name->is_string() ? name->as_string() : "GPT2Tokenizer";
  return found.ends_with("Fast") ? found.substr(0, found.size() - 4) : found;
}

Json byte_level(bool prefix_space, bool use_regex) {
  return Json::Object{
      {"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", false}, {"use_regex", use_regex}};
}

}  // namespace

std::string tokenizer_json_of_vocab_and_merges(const TokenizerFiles& files) {
  std::string name = class_name(files);
  if (name != "GPT2Tokenizer" && name != "Qwen2Tokenizer") {
    fail(ExitCode::model,
         fmt::format("{}: vocab.json and merges.txt of a {} cannot be read, only of GPT2Tokenizer and Qwen2Tokenizer",
                     files.folder.string(), name),
         "write a tokenizer.json: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)");
  }
  bool prefix_space = flag(files.config, "add_prefix_space", false);
  Json normalizer, pre_tokenizer = byte_level(prefix_space, true);
  if (name == "Qwen2Tokenizer") {
    normalizer = Json::Object{{"type", "NFC"}};
    Json split = Json::Object{{"type", "Split"},
                              {"pattern", Json::Object{{"Regex", std::string(kQwen2Pattern)}}},
                              {"behavior", "Isolated"},
                              {"invert", false}};
    pre_tokenizer =
        Json::Object{{"type", "Sequence"}, {"pretokenizers", Json::Array{split, byte_level(prefix_space, false)}}};
  }
  Json vocab = with_context(ExitCode::model, "", [&] { return Json::parse_file(files.folder / "vocab.json"); });
  Json model = Json::Object{{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", ""},
                            {"end_of_word_suffix", ""},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"vocab", std::move(vocab)},
                            {"merges", read_merges(files.folder / "merges.txt")}};
  Json whole = Json::Object{{"version", "1.0"},          {"added_tokens", Json::Array{}},
                            {"normalizer", normalizer},  {"pre_tokenizer", pre_tokenizer},
                            {"post_processor", nullptr}, {"decoder", byte_level(prefix_space, true)},
                            {"model", std::move(model)}};
  return whole.dump();
}

}  // namespace prentice

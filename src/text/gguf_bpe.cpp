#include <fmt/format.h>

#include "core/error.h"
#include "io/json.h"
#include "text/gguf_vocabulary.h"
#include "text/pre_tokenizer.h"

namespace prentice {

namespace {

Json byte_level(bool use_regex) {
  return Json::Object{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", use_regex}};
}

// Each expression splits what the ones before it have left whole.
Json pre_tokenizer_of(const GgufPreTokenizer& pre) {
  Json::Array steps;
  for (const auto& pattern : pre.patterns) {
    if (pattern.empty()) continue;
    steps.push_back(Json::Object{{"type", "Split"},
                                 {"pattern", Json::Object{{"Regex", std::string(pattern)}}},
                                 {"behavior", "Isolated"},
                                 {"invert", false}});
  }
  steps.push_back(byte_level(false));
  return Json::Object{{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

Json vocabulary_of(const GgufTokens& tokens) {
  Json::Object vocabulary;
  vocabulary.reserve(tokens.tokens.size());
  for (size_t id = 0; id < tokens.tokens.size(); ++id) {
    vocabulary.emplace_back(tokens.tokens[id], static_cast<int64_t>(id));
  }
  return vocabulary;
}

Json merges_of(const GgufTokens& tokens) {
  Json::Array merges;
  merges.reserve(tokens.merges.size());
  for (const auto& merge : tokens.merges) {
    const size_t space = merge.find(' ', 1);
    merges.push_back(Json::Array{Json(merge.substr(0, space)), Json(merge.substr(space + 1))});
  }
  return merges;
}

Json added_of(const GgufTokens& tokens) {
  Json::Array added;
  for (const auto& token : tokens.added) {
    added.push_back(Json::Object{{"id", int64_t{token.id}},
                                 {"content", token.content},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", token.rstrip},
                                 {"normalized", false},
                                 {"special", token.special}});
  }
  return added;
}

// What stands before and behind every text.
Json post_processor_of(const GgufTokens& tokens) {
  Json::Array single;
  Json::Object known;
  const auto add = [&](std::optional<int32_t> id) {
    const std::string& text = tokens.tokens[static_cast<size_t>(*id)];
    single.push_back(Json::Object{{"SpecialToken", Json::Object{{"id", text}, {"type_id", 0}}}});
    const Json entry = Json::Object{{"id", text}, {"ids", Json::Array{int64_t{*id}}}, {"tokens", Json::Array{text}}};
    if (known.empty() || known.back().first != text) known.emplace_back(text, entry);
  };
  if (tokens.add_bos && tokens.specials.bos) add(tokens.specials.bos);
  single.push_back(Json::Object{{"Sequence", Json::Object{{"id", "A"}, {"type_id", 0}}}});
  if (tokens.add_eos && tokens.specials.eos) add(tokens.specials.eos);
  if (single.size() == 1) return byte_level(false);
  const Json pair = Json::Array{Json::Object{{"Sequence", Json::Object{{"id", "A"}, {"type_id", 0}}}},
                                Json::Object{{"Sequence", Json::Object{{"id", "B"}, {"type_id", 1}}}}};
  return Json::Object{{"type", "TemplateProcessing"},
                      {"single", std::move(single)},
                      {"pair", pair},
                      {"special_tokens", std::move(known)}};
}

}  // namespace

std::string tokenizer_json_of(const GgufTokens& tokens) {
  const GgufPreTokenizer* pre = find_gguf_pre_tokenizer(tokens.pre);
  if (pre == nullptr) {
    fail(ExitCode::malformed, "key tokenizer.ggml.pre: " + tokens.pre + " is not supported",
         "supported: " + gguf_pre_tokenizer_names());
  }
  Json model = Json::Object{{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"ignore_merges", pre->ignore_merges},
                            {"vocab", vocabulary_of(tokens)},
                            {"merges", merges_of(tokens)}};
  const Json whole = Json::Object{{"version", "1.0"},
                                  {"truncation", nullptr},
                                  {"padding", nullptr},
                                  {"added_tokens", added_of(tokens)},
                                  {"normalizer", nullptr},
                                  {"pre_tokenizer", pre_tokenizer_of(*pre)},
                                  {"post_processor", post_processor_of(tokens)},
                                  {"decoder", byte_level(true)},
                                  {"model", std::move(model)}};
  return whole.dump();
}

}  // namespace prentice

// A tokenizer of single characters with BOS, and a template for it, so that every count is plain.
#pragma once

#include <string>

#include "text/fixtures.h"

namespace prentice {

inline constexpr auto kChatTemplate =
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == "
    "'system' "
    "%}{{ m.content }};{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}";

// One token a character; <s> is added in front when `adds_bos`.
inline Tokenizer letters(bool adds_bos = true, const std::string& chat_template = "", bool adds_eos = false) {
  testing::TemporaryFolder folder;
  auto json = testing::tiny_tokenizer_json();
  const std::string sequence = R"({"Sequence":{"id":"A","type_id":0}})";
  const auto special = [](const std::string& t) { return R"({"SpecialToken":{"id":")" + t + R"(","type_id":0}})"; };
  const auto known = [](const std::string& t, int id) {
    return "\"" + t + R"(":{"id":")" + t + R"(","ids":[)" + std::to_string(id) + R"(],"tokens":[")" + t + "\"]}";
  };
  const std::string processor = R"({"type":"TemplateProcessing","single":[)" + special("<s>") + "," + sequence +
                                (adds_eos ? "," + special("</s>") : "") + R"(],"pair":[)" + sequence +
                                R"(],"special_tokens":{)" + known("<s>", 96) + "," + known("</s>", 97) + "}}";
  const std::string none = R"("post_processor":null)";
  if (adds_bos) json.replace(json.find(none), none.size(), R"("post_processor":)" + processor);
  folder.write("tokenizer.json", json);
  folder.write("tokenizer_config.json", R"({"bos_token":"<s>","eos_token":"</s>"})");
  if (!chat_template.empty()) folder.write("chat_template.jinja", chat_template);
  return Tokenizer::load(folder.path());
}

}  // namespace prentice

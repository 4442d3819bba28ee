// Which tokens are trained, against transformers' assistant masks and TRL's prompt-completion masks
// (tests/golden/data/masks.json, written by scripts/golden/data.py).
#include "data/support.h"
#include "io/json.h"

namespace prentice {
namespace {

Json golden() { return Json::parse_file("tests/golden/data/masks.json"); }

std::vector<int64_t> integers(const Json& list) {
  std::vector<int64_t> out;
  for (const auto& value : list.as_array()) out.push_back(value.as_integer());
  return out;
}

std::vector<int64_t> ids_of(const Sequence& sequence) { return {sequence.ids.begin(), sequence.ids.end()}; }

// By token: is it a target. The first token never is: nothing precedes it.
std::vector<int64_t> mask_of(const Sequence& sequence) {
  std::vector<int64_t> mask(sequence.ids.size(), 0);
  for (size_t t = 0; t + 1 < sequence.ids.size(); ++t) {
    mask[t + 1] = sequence.labels[t] != kNoLabel;
    if (mask[t + 1]) EXPECT_EQ(sequence.labels[t], sequence.ids[t + 1]);
  }
  return mask;
}

std::string without_generation_tags(std::string text) {
  for (const std::string tag : {"{% generation %}", "{% endgeneration %}"}) {
    for (size_t at; (at = text.find(tag)) != std::string::npos;) text.erase(at, tag.size());
  }
  return text;
}

TEST(Masks, ConversationsTrainWhatTransformersMarks) {
  const Scratch scratch;
  const auto cases = golden();
  for (const auto& [name, wanted] : cases.at("chats").as_object()) {
    const auto rows = write_text(scratch, "rows.jsonl", Json(Json::Object{{"messages", wanted.at("messages")}}).dump());
    for (const bool tags : {true, false}) {
      auto section = section_for(rows);
      const auto& source = wanted.at("template").as_string();
      section.chat_template = write_text(scratch, "chat.jinja", tags ? source : without_generation_tags(source));
      const auto set = load(section, office_tokenizer());
      ASSERT_EQ(set.encoded.sequences.size(), 1u);
      const auto& sequence = set.encoded.sequences[0];
      EXPECT_EQ(ids_of(sequence), integers(wanted.at("ids"))) << name;
      EXPECT_EQ(mask_of(sequence), integers(wanted.at("mask"))) << name << (tags ? "" : ", by markers");
    }
  }
}

TEST(Masks, PromptAndCompletionTrainWhatTrlTrains) {
  const Scratch scratch;
  const auto cases = golden();
  for (const auto& wanted : cases.at("pairs").as_array()) {
    const Json record = Json::Object{{"prompt", wanted.at("prompt")}, {"completion", wanted.at("completion")}};
    const auto section = section_for(write_text(scratch, "rows.jsonl", record.dump()));
    if (wanted.at("straddles").as_bool()) {
      EXPECT_TRUE(contains(message_of([&] { load(section, office_tokenizer()); }), "in 1 of 1 rows a token straddles"));
      continue;
    }
    const auto set = load(section, office_tokenizer());
    auto mask = integers(wanted.at("mask"));
    mask[0] = 0;  // without a prompt TRL marks the first token too, and then drops it with the shift
    EXPECT_EQ(ids_of(set.encoded.sequences[0]), integers(wanted.at("ids"))) << record.dump();
    EXPECT_EQ(mask_of(set.encoded.sequences[0]), mask) << record.dump();
  }
}

}  // namespace
}  // namespace prentice

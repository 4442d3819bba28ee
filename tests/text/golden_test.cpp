// What transformers, tokenizers and SentencePiece gave (scripts/golden/text.py) against what we give. With
// PRENTICE_TEXT_CASES naming another file of the same form, that file is checked as well: tests/oracle/test_text.py.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "core/error.h"
#include "text/chat.h"
#include "text/fixtures.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

std::string utf8_prefix(const std::string& text, int64_t characters) {
  size_t at = 0;
  for (; characters > 0 && at < text.size(); --characters) {
    do ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  }
  return text.substr(0, at);
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string template_source(const Json& test) {
  if (const Json* source = test.find("source")) return source->as_string();
  fs::path own = "tests/golden/text/templates/" + test.at("template").as_string() + ".jinja";
  return read(fs::exists(own) ? own : fs::path("configs/chat/plain.jinja"));
}

Conversation conversation_of(const Json& test) { return {test.at("messages").as_array(), test.at("tools"), {}}; }

RenderOptions options_of(const Json& test) { return {test.at("prompt").as_bool(), test.at("arguments").as_object()}; }

// The tokenizer of a case: one with its special tokens if it lists them.
const Tokenizer& tokenizer_of(const Json& test) {
  static std::map<std::string, Tokenizer> made;
  const Json* added = test.find("added");
  std::string key = added ? added->dump() + test.at("config").dump() : "";
  auto found = made.find(key);
  if (found == made.end()) {
    auto tokenizer = added ? testing::tiny_tokenizer(test.at("config").dump(), *added) : testing::tiny_tokenizer();
    found = made.emplace(key, std::move(tokenizer)).first;
  }
  return found->second;
}

// One spanned text a line, for comparison and messages.
std::string spans_of(const RenderedChat& chat) {
  std::string all;
  for (const auto& span : chat.assistant) {
    auto begin = static_cast<size_t>(span.bytes.begin), end = static_cast<size_t>(span.bytes.end);
    all += std::to_string(span.message) + ": " + Json(chat.text.substr(begin, end - begin)).dump() + "\n";
  }
  return all;
}

std::string expected_spans(const Json& test) {
  std::string all;
  for (const auto& span : test.at("spans").as_array()) {
    all += std::to_string(span.as_array()[0].as_integer()) + ": " + span.as_array()[1].dump() + "\n";
  }
  return all;
}

void check_template(const Json& test) {
  SCOPED_TRACE(test.at("name").as_string());
  try {
    ChatTemplate chat(template_source(test), "template", tokenizer_of(test));
    std::string text = chat.render(conversation_of(test), options_of(test));
    ASSERT_FALSE(test.find("error")) << "transformers refuses: " << test.at("error").as_string()
                                     << "\nwe render: " << text;
    EXPECT_EQ(text, test.at("text").as_string());
    if (test.find("spans")) {
      auto rendered = chat.render_with_spans(conversation_of(test), options_of(test));
      EXPECT_EQ(rendered.text, text);
      EXPECT_EQ(spans_of(rendered), expected_spans(test)) << text;
    }
  } catch (const Error& error) {
    if (!test.find("error")) {
      ADD_FAILURE() << error.what();
    } else if (std::string wanted = test.at("error").as_string(); wanted.size() > 20 && wanted.ends_with('!')) {
      EXPECT_NE(std::string(error.what()).find(wanted), std::string::npos) << error.what();
    }
  }
}

// SentencePiece cases name a model file: a folder is made around it.
Tokenizer open_tokenizer(const Json& test, const fs::path& data) {
  const Json* file = test.find("file");
  if (!file) return Tokenizer::load(data / test.at("tokenizer").as_string());
  testing::TemporaryFolder folder;
  fs::copy_file(data / file->as_string(), folder.path() / "tokenizer.model");
  folder.write("tokenizer_config.json", R"({"tokenizer_class":"LlamaTokenizer","add_bos_token":true})");
  return Tokenizer::load(folder.path());
}

std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const auto& id : list.as_array()) ids.push_back(static_cast<int32_t>(id.as_integer()));
  return ids;
}

std::vector<ByteSpan> offsets_of(const Json& list) {
  std::vector<ByteSpan> spans;
  for (const auto& pair : list.as_array())
    spans.push_back({pair.as_array()[0].as_integer(), pair.as_array()[1].as_integer()});
  return spans;
}

void check_tokens(const Json& test, const Tokenizer& tokenizer) {
  const std::string& text = test.at("text").as_string();
  SCOPED_TRACE(test.at("tokenizer").as_string() + " " + Json(utf8_prefix(text, 80)).dump());
  auto special = tokenizer.encode(text, true);
  EXPECT_EQ(special, ids_of(test.at("special")));
  auto plain = tokenizer.encode_with_offsets(text, false);
  EXPECT_EQ(plain.ids, ids_of(test.at("plain")));
  EXPECT_EQ(plain.offsets.size(), plain.ids.size());
  if (const Json* offsets = test.find("offsets")) EXPECT_EQ(plain.offsets, offsets_of(*offsets));
  if (const Json* decoded = test.find("decoded")) {
    EXPECT_EQ(tokenizer.decode(special, false), decoded->as_string());
    EXPECT_EQ(tokenizer.decode(special, true), test.at("decoded_skip").as_string());
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (int32_t id : special) streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.finish(), test.at("decoded_skip").as_string());
  }
}

void check_file(const fs::path& path) {
  Json json = Json::parse_file(path);
  auto data = testing::shared_data();
  std::map<std::string, Tokenizer> tokenizers;
  for (const auto& test : json.at("cases").as_array()) {
    if (test.find("template")) {
      check_template(test);
      continue;
    }
    std::string name = test.at("tokenizer").as_string();
    if (!tokenizers.contains(name)) tokenizers.emplace(name, open_tokenizer(test, data));
    check_tokens(test, tokenizers.at(name));
  }
}

TEST(Golden, TemplatesRenderAsTransformersRendersThem) { check_file("tests/golden/text/templates.json"); }

// The rendered text with what the assistant must write between brackets, as in tests/golden/text/spans.
std::string shown(const ChatTemplate& chat, const Json& messages, const Json& tools) {
  const Conversation conversation{messages.as_array(), tools, {}};
  const bool asked = messages.as_array().back().at("role").as_string() == "user";
  try {
    const RenderedChat rendered = chat.render_with_spans(conversation, {.add_generation_prompt = asked});
    std::string text;
    size_t done = 0;
    for (const auto& span : rendered.assistant) {
      const auto begin = static_cast<size_t>(span.bytes.begin), end = static_cast<size_t>(span.bytes.end);
      text += rendered.text.substr(done, begin - done) + "\u27e6" + rendered.text.substr(begin, end - begin) + "\u27e7";
      done = end;
    }
    return text + rendered.text.substr(done);
  } catch (const Error& error) {
    return error.code() == ExitCode::data ? "refused" : error.what();
  }
}

TEST(Golden, ShippedTemplatesTrainTheSpansThatTheirGoldenTextsShow) {
  const Json golden = Json::parse_file("tests/golden/text/chat.json");
  std::set<std::string> shipped, tested;
  for (const auto& entry : fs::directory_iterator("configs/chat")) shipped.insert(entry.path().stem().string());
  for (const auto& [name, tokens] : golden.at("templates").as_object()) {
    tested.insert(name);
    const std::string source = read("configs/chat/" + name + ".jinja");
    const ChatTemplate chat(source, name, tokenizer_of(tokens));
    std::string all;
    for (const auto& [title, conversation] : golden.at("conversations").as_object()) {
      const Json& messages = conversation.at("messages");
      if (messages.dump().find("tool_calls") != std::string::npos && source.find("tool_calls") == std::string::npos) {
        continue;
      }
      all += "== " + title + "\n" + shown(chat, messages, conversation.at("tools")) + "\n";
    }
    EXPECT_EQ(all, read("tests/golden/text/spans/" + name + ".txt")) << name;
  }
  EXPECT_EQ(shipped, tested);
}

TEST(Golden, IdsOffsetsAndTextEqualTheReferenceTokenizers) {
  if (!fs::exists(testing::shared_data() / "tokenizers")) GTEST_SKIP() << testing::shared_data() << " is absent";
  check_file("tests/golden/text/tokenizers.json");
}

TEST(Golden, CasesOfALiveOracle) {
  const char* path = std::getenv("PRENTICE_TEXT_CASES");
  if (!path) GTEST_SKIP() << "PRENTICE_TEXT_CASES is not set; tests/oracle/test_text.py sets it";
  check_file(path);
}

}  // namespace
}  // namespace prentice

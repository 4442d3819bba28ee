#include "proof/token_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/utf8.h"
#include "io/json.h"
#include "proof/token_corpus.h"
#include "text/chat.h"

namespace prentice {

namespace {

constexpr size_t kLongest = 48, kShownOfDifference = 24;

std::string shown(std::string_view text) { return Json(whole_characters(text, 0, kLongest)).dump(); }

std::string shown(const std::vector<int32_t>& ids, size_t from) {
  std::string text;
  for (size_t i = from; i < std::min(ids.size(), from + 4); ++i)
    text += fmt::format("{}{}", i > from ? " " : "", ids[i]);
  return text.empty() ? "nothing" : text;
}

// Texts whose ids differ, the first of them told.
struct IdComparison {
  size_t texts = 0, different = 0, ids = 0;
  std::string first;

  Check check(std::string name, const std::string& note) const {
    return {.name = std::move(name),
            .passed = different == 0,
            .value = static_cast<double>(different),
            .limit = 0,
            .detail = different == 0 ? fmt::format("{} in {} texts{}", ids, texts, note) : first};
  }
};

EncodeTexts encoder(const Tokenizer& tokenizer, int threads) {
  return [&tokenizer, threads](const std::vector<std::string>& texts) {
    std::vector<std::vector<int32_t>> all;
    for (auto& one : tokenizer.encode_batch(texts, true, false, threads)) all.push_back(std::move(one.ids));
    return all;
  };
}

IdComparison compare_ids(const EncodeTexts& model, const EncodeTexts& artifact, const std::vector<std::string>& texts) {
  IdComparison found{.texts = texts.size()};
  const auto wanted = model(texts), made = artifact(texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    found.ids += wanted[i].size();
    if (wanted[i] == made[i]) continue;
    if (found.different++ > 0) continue;
    const auto apart = std::ranges::mismatch(wanted[i], made[i]);
    const auto at = static_cast<size_t>(apart.in1 - wanted[i].begin());
    found.first = fmt::format("{}: from id {} on expected {}, got {}", shown(texts[i]), at, shown(wanted[i], at),
                              shown(made[i], at));
  }
  return found;
}

Conversation conversation(std::initializer_list<std::pair<const char*, const char*>> turns) {
  Conversation made;
  for (const auto& [role, content] : turns) made.messages.push_back(Json::Object{{"role", role}, {"content", content}});
  return made;
}

std::vector<Conversation> conversations() {
  std::vector<Conversation> all;
  all.push_back(conversation({{"user", "Hello!"}}));
  all.push_back(conversation({{"user", "What is 2 + 2?"}, {"assistant", "4"}}));
  all.push_back(conversation({{"system", "Answer briefly."}, {"user", "Who are you?"}}));
  all.push_back(conversation({{"system", "  "}, {"user", " a\n\nb "}, {"assistant", "c\n"}, {"user", "d"}}));
  all.push_back(
      conversation({{"user", "gr\u00f6\u00dfe \u6771\u4eac \U0001f680 <|im_end|> </s> {{ x }}"}, {"assistant", "ok"}}));
  return all;
}

std::string first_difference(const std::string& wanted, const std::string& found) {
  const auto apart = std::ranges::mismatch(wanted, found);
  const auto at = static_cast<size_t>(apart.in1 - wanted.begin());
  const auto line = std::count(wanted.begin(), apart.in1, '\n') + 1;
  const auto there = [&](std::string_view text) { return shown(whole_characters(text, at, kShownOfDifference)); };
  return fmt::format("differs at byte {}, line {}: expected {}, got {}", at, line, there(wanted), there(found));
}

Check template_check(const std::optional<std::string>& wanted, const std::optional<std::string>& found) {
  const bool equal = wanted == found;
  std::string detail = wanted ? "byte for byte" : "none";
  if (!equal) {
    detail = !found ? "is missing" : !wanted ? "the model has none" : first_difference(*wanted, *found);
  }
  return equal_check("chat template", equal, std::move(detail));
}

// Both render with their own special tokens.
Check rendering_check(const Tokenizer& model, const Tokenizer& artifact) {
  const ChatTemplate own(*model.chat_template(), model.chat_template_file().string(), model);
  const ChatTemplate other(*artifact.chat_template(), artifact.chat_template_file().string(), artifact);
  size_t rendered = 0;
  for (const auto& talk : conversations()) {
    for (const bool prompt : {false, true}) {
      const RenderOptions options{.add_generation_prompt = prompt, .arguments = {}};
      const auto wanted = own.try_render(talk, options), found = other.try_render(talk, options);
      if (wanted != found) {
        return equal_check("rendered conversations", false,
                           wanted && found ? first_difference(*wanted, *found) : "only one of the two renders it");
      }
      rendered += wanted ? 1 : 0;
    }
  }
  return equal_check("rendered conversations", true, fmt::format("{}, byte for byte", rendered));
}

}  // namespace

std::vector<Check> id_checks(const Tokenizer& model, const EncodeTexts& artifact, const TextRules& rules) {
  std::vector<std::string> texts = plain_texts();
  texts.insert(texts.end(), rules.texts.begin(), rules.texts.end());
  std::string note;
  if (rules.as_gguf && model.encode(kComposed, false) == model.encode(kDecomposed, false)) {
    const size_t all = texts.size();
    std::erase_if(texts, [](const std::string& text) { return is_decomposed(text); });
    note = fmt::format("; {} with accents of their own are left out, which llama.cpp does not compose",
                       all - texts.size());
  }
  const EncodeTexts own = encoder(model, rules.threads);
  std::vector<Check> checks = {compare_ids(own, artifact, texts).check("token ids", note)};
  const auto added = texts_of_added(model);
  if (!added.empty()) checks.push_back(compare_ids(own, artifact, added).check("special tokens in text", ""));
  return checks;
}

std::vector<Check> text_checks(const Tokenizer& model, const Tokenizer& artifact, const TextRules& rules) {
  std::vector<Check> checks = id_checks(model, encoder(artifact, rules.threads), rules);
  checks.push_back(template_check(model.chat_template(), artifact.chat_template()));
  if (checks.back().passed && model.chat_template()) checks.push_back(rendering_check(model, artifact));
  return checks;
}

}  // namespace prentice

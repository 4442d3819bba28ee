#include "data/prompts.h"

#include <fmt/format.h>

#include <algorithm>

#include "data/data_template.h"
#include "data/load.h"
#include "data/problems.h"
#include "data/row.h"

namespace prentice {

namespace {

// What a post-processor puts at the end belongs behind the answer.
std::vector<int32_t> without_end(const Tokenizer& tokenizer, Encoding encoding) {
  auto& [ids, offsets] = encoding;
  while (ids.size() > 1 && offsets.back() == ByteSpan{} && tokenizer.is_special(ids.back())) {
    ids.pop_back();
    offsets.pop_back();
  }
  return std::move(ids);
}

// The turns before the last answer; all of them where nobody has answered.
Conversation before_answer(Conversation conversation) {
  auto& messages = conversation.messages;
  const auto is_answer = [](const Json& message) { return message.at("role").as_string() == "assistant"; };
  const auto last = std::ranges::find_if(messages.rbegin(), messages.rend(), is_answer);
  if (last == messages.rend()) return conversation;
  const auto count = static_cast<size_t>(messages.rend() - last) - 1;
  messages.resize(count);
  if (conversation.weights.size() > count) conversation.weights.resize(count);
  return conversation;
}

Prompt prompt_of(Row row, const ChatTemplate* chat_template, const RenderOptions& options, const Tokenizer& tokenizer) {
  Prompt prompt{.origin = row.origin, .chat = row.kind == RowKind::chat};
  if (row.kind == RowKind::text)
    bad_record("a text has no prompt to answer", "teach.sample takes conversations, or prompts with completions");
  if (prompt.chat) {
    prompt.conversation = before_answer(std::move(row.conversation));
    const std::string text = chat_template->render(prompt.conversation, options);
    const std::string bos = tokenizer.bos_token();
    const bool has_bos = !bos.empty() && text.starts_with(bos);
    prompt.ids = without_end(tokenizer, tokenizer.encode_with_offsets(text, !has_bos));
  } else {
    prompt.text = std::move(row.prompt);
    prompt.ids = without_end(tokenizer, tokenizer.encode_with_offsets(prompt.text, /*add_special=*/true));
  }
  if (prompt.ids.empty()) bad_record("the prompt has no tokens");
  return prompt;
}

}  // namespace

PromptSet load_prompts(const DataSection& section, const Tokenizer& tokenizer, int threads) {
  const auto chat_template = open_chat_template(section, tokenizer);
  const RowMaker maker(section, chat_template.has_value());
  Problems problems;
  auto loaded = load_rows(section.train, section, maker, threads, problems);
  const RenderOptions options{.add_generation_prompt = true, .arguments = template_arguments(section)};
  PromptSet set;
  set.description = fmt::format("{}, {} {} from {}", format_word(loaded.format),
                                with_commas(static_cast<int64_t>(loaded.rows.size())),
                                loaded.rows.size() == 1 ? "prompt" : "prompts", loaded.files);
  for (auto& row : loaded.rows) {
    const Origin origin = row.origin;
    problems.collect(origin, [&] {
      set.prompts.push_back(prompt_of(std::move(row), chat_template ? &*chat_template : nullptr, options, tokenizer));
    });
  }
  problems.throw_if_any();
  return set;
}

Json answered(const Prompt& prompt, const std::string& answer) {
  if (!prompt.chat) return Json::Object{{"prompt", prompt.text}, {"completion", answer}};
  const auto& [turns, tools, weights] = prompt.conversation;
  Json::Array messages;
  for (size_t i = 0; i < turns.size(); ++i) {
    Json message = turns[i];
    const bool is_answer = message.at("role").as_string() == "assistant";
    if (is_answer && i < weights.size() && weights[i] != 1) message["weight"] = weights[i];
    messages.push_back(std::move(message));
  }
  messages.push_back(Json::Object{{"role", "assistant"}, {"content", answer}});
  Json::Object row{{"messages", std::move(messages)}};
  if (!tools.is_null()) row.emplace_back("tools", tools);
  return row;
}

bool stands_apart(const Prompt& prompt, const std::string& answer, const Tokenizer& tokenizer) {
  if (prompt.chat) return true;
  const auto border = static_cast<int64_t>(prompt.text.size());
  const Encoding whole = tokenizer.encode_with_offsets(prompt.text + answer, /*add_special=*/true);
  return std::ranges::none_of(whole.offsets,
                              [&](const ByteSpan& span) { return span.begin < border && border < span.end; });
}

}  // namespace prentice

#include "text/chat_spans.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/chat_turn.h"

namespace prentice {
namespace {

Json::Array first_messages(const Json::Array& messages, size_t count) {
  return {messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

SpanFinder::SpanFinder(const ChatRenderer& renderer, const Tokenizer& tokenizer)
    : renderer_(renderer), tokens_(tokenizer.added_tokens()) {
  auto bos = tokenizer.bos_id(), eos = tokenizer.eos_id();
  if (eos && !std::ranges::count(tokens_, *eos, &AddedToken::id)) {
    tokens_.push_back({.id = *eos, .content = tokenizer.eos_token(), .special = true});
  }
  std::erase_if(tokens_, [&](const AddedToken& token) {
    return token.content.empty() || (bos && token.id == *bos && bos != eos);
  });
  for (auto& token : tokens_) token.special |= eos && token.id == *eos;
  std::ranges::stable_sort(tokens_, std::greater(), [](const AddedToken& token) { return token.content.size(); });
}

std::vector<AssistantSpan> SpanFinder::find(const Conversation& conversation, const RenderOptions& options,
                                            const std::string& text) const {
  if (assistants(conversation.messages).empty()) return {};
  Turn turn{conversation, options, text, ""};
  turn.prompt = generation_prompt(turn);
  return renderer_.has_generation_blocks() ? from_blocks(turn) : from_markers(turn);
}

// What add_generation_prompt appends to the messages before the first assistant turn.
std::string SpanFinder::generation_prompt(const Turn& turn) const {
  const auto& messages = turn.conversation.messages;
  size_t first = assistants(messages).front();
  auto before = first_messages(messages, first == 0 ? messages.size() : first);
  RenderOptions with = turn.options, without = turn.options;
  with.add_generation_prompt = true;
  without.add_generation_prompt = false;
  auto long_text = renderer_.try_render(before, turn.conversation.tools, with);
  auto short_text = renderer_.try_render(before, turn.conversation.tools, without);
  if (!long_text || !short_text) return "";
  auto [prompt, rest] = std::ranges::mismatch(*long_text, *short_text);
  std::string found(prompt, long_text->end()), ending(rest, short_text->end());
  if (found.ends_with(ending)) found.resize(found.size() - ending.size());  // what every text ends with
  return found;
}

std::optional<UnmarkedText> SpanFinder::marked_rendering(const Turn& turn) const {
  for (MarkerPlan plan : kMarkerPlans) {
    auto marked = mark_assistants(turn.conversation.messages, plan, turn.text);
    auto rendered = renderer_.try_render(marked.messages, turn.conversation.tools, turn.options);
    if (!rendered) continue;
    auto found = unmark(*rendered, marked);
    found.everything = plan.everything;
    if (found.text == turn.text) return found;
  }
  return std::nullopt;
}

std::vector<AssistantSpan> SpanFinder::from_markers(const Turn& turn) const {
  auto found = marked_rendering(turn);
  if (!found) fail_hidden(assistants(turn.conversation.messages).front());
  require_calls(turn, found);
  std::vector<AssistantSpan> spans;
  int64_t done = 0;
  for (size_t i = 0; i < found->extents.size(); ++i) {
    const auto& extent = found->extents[i];
    if (!extent) continue;  // the template leaves this message out
    auto [begin, end] = extent->bytes;
    auto prompt_end = begin_after_prompt(turn, i, done, begin);
    if (begin < done || extent->end_lost || (extent->begin_lost && !prompt_end)) fail_hidden(i);
    AssistantSpan span{{prompt_end.value_or(begin), end_of_turn(turn, i, end)}, i};
    done = std::max(done, span.bytes.end);
    append(spans, span);
  }
  return spans;
}

// Where the generation prompt ends that stands between `from` and `to`, the first of the message's own words.
std::optional<int64_t> SpanFinder::begin_after_prompt(const Turn& turn, size_t message, int64_t from,
                                                      int64_t to) const {
  for (size_t size : prompt_sizes(turn.prompt)) {
    if (to - static_cast<int64_t>(size) < from) continue;
    std::string_view prompt = std::string_view(turn.prompt).substr(0, size);
    size_t at = turn.text.rfind(prompt, static_cast<size_t>(to) - size);
    if (at != std::string::npos && static_cast<int64_t>(at) >= from) return static_cast<int64_t>(at + size);
  }
  // No visible prompt: what the model would see when asked for this turn may still be how the text begins.
  const auto& messages = turn.conversation.messages;
  RenderOptions asking = turn.options;
  asking.add_generation_prompt = true;
  auto before = renderer_.try_render(first_messages(messages, message), turn.conversation.tools, asking);
  auto question = before ? end_of_question(turn, message, *before, static_cast<size_t>(to)) : std::nullopt;
  if (!question || static_cast<int64_t>(*question) < from || static_cast<int64_t>(*question) > to) return std::nullopt;
  size_t begin = *question;
  if (skip_space(turn.text, begin) >= static_cast<size_t>(to)) return static_cast<int64_t>(begin);
  if (!has_tool_calls(messages[message])) return std::nullopt;  // a header, which is not trained
  // Before a tool call stands its frame, perhaps behind a header: the one that a plain answer has.
  auto plain = first_messages(messages, message);
  plain.push_back(Json::Object{{"role", "assistant"}, {"content", "X"}});
  auto answered = renderer_.try_render(plain, turn.conversation.tools, turn.options);
  size_t asked = before->size();
  size_t word = answered ? answered->find('X', asked) : std::string::npos;
  if (word == std::string::npos || !answered->starts_with(*before)) return std::nullopt;
  std::string_view header = std::string_view(*answered).substr(asked, word - asked);
  bool empty = skip_space(*answered, asked) == word;
  if (!empty && turn.text.compare(begin, header.size(), header) != 0) return std::nullopt;
  return static_cast<int64_t>(empty ? begin : std::min(begin + header.size(), static_cast<size_t>(to)));
}

// Where `before`, the messages before this one as the model would see them, ends in the text. A template that puts the
// system text at the last question writes earlier questions otherwise when they are the last; then the words of the
// message before are looked for, with what stands behind them.
std::optional<size_t> SpanFinder::end_of_question(const Turn& turn, size_t message, const std::string& before,
                                                  size_t to) const {
  if (turn.text.starts_with(before)) return before.size();
  const Json* content = message == 0 ? nullptr : turn.conversation.messages[message - 1].find("content");
  if (!content || !content->is_string()) return std::nullopt;
  std::string_view words = content->as_string();
  while (!words.empty() && is_space(words.front())) words.remove_prefix(1);
  while (!words.empty() && is_space(words.back())) words.remove_suffix(1);
  const size_t begin = words.empty() ? std::string::npos : before.rfind(words);
  if (begin == std::string::npos) return std::nullopt;
  const std::string_view tail = std::string_view(before).substr(begin);
  const size_t at = tail.size() > to ? std::string::npos : turn.text.rfind(tail, to - tail.size());
  return at == std::string::npos ? std::nullopt : std::optional(at + tail.size());
}

bool SpanFinder::may_end_a_turn(const Turn& turn, const AddedToken& token) const {
  return turn.prompt.find(token.content) == std::string::npos;
}

// Bytes of the longest token that may end a turn and begins at text[at].
std::optional<size_t> SpanFinder::token_at(const Turn& turn, size_t at, bool special_only) const {
  for (const auto& token : tokens_) {
    if ((special_only && !token.special) || turn.text.compare(at, token.content.size(), token.content) != 0) continue;
    return may_end_a_turn(turn, token) ? std::optional(token.content.size()) : std::nullopt;
  }
  return std::nullopt;
}

int64_t SpanFinder::end_of_turn(const Turn& turn, size_t message, int64_t content_end) const {
  auto end = static_cast<size_t>(content_end);
  size_t next = skip_space(turn.text, end);
  if (auto bytes = token_at(turn, next, false)) return static_cast<int64_t>(next + *bytes);
  if (!has_tool_calls(turn.conversation.messages[message])) return content_end;
  // A tool call has a frame behind its arguments; the turn's own text bounds the search.
  auto upto = renderer_.try_render(first_messages(turn.conversation.messages, message + 1), turn.conversation.tools,
                                   turn.options);
  size_t limit = upto && turn.text.starts_with(*upto) ? upto->size() : turn.text.size();
  for (size_t at = end; at < limit; ++at) {
    if (auto bytes = token_at(turn, at, true)) return static_cast<int64_t>(at + *bytes);
  }
  return content_end;
}

// A template without tool calls would turn them into empty answers, and training on those is worse than stopping.
void SpanFinder::require_calls(const Turn& turn, const std::optional<UnmarkedText>& marked) const {
  const auto& messages = turn.conversation.messages;
  for (size_t i = 0; marked && i < messages.size(); ++i) {
    if (!has_tool_calls(messages[i]) || marked->calls_written[i] || !marked->everything) continue;
    fail(ExitCode::data,
         fmt::format("{}: this chat template leaves out the tool calls of message {}", renderer_.origin(), i + 1),
         "set data.template to a template that writes tool calls, or leave such conversations out");
  }
}

void SpanFinder::fail_hidden(size_t message) const {
  fail(ExitCode::model,
       fmt::format("{}: this chat template does not show where the words of message {} (an assistant's) end up in the "
                   "text, so what to train on is unknown",
                   renderer_.origin(), message + 1),
       "put {% generation %} and {% endgeneration %} around what the assistant writes, or set data.template to another "
       "template, for instance configs/chat/plain.jinja");
}

}  // namespace prentice

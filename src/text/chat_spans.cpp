#include "text/chat_spans.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/utf8.h"

namespace prentice {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

size_t skip_space(const std::string& text, size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

bool is_assistant(const Json& message) {
  const Json* role = message.find("role");
  return role && role->is_string() && role->as_string() == "assistant";
}

bool has_tool_calls(const Json& message) {
  const Json* calls = message.find("tool_calls");
  return is_assistant(message) && calls && calls->is_array() && !calls->as_array().empty();
}

std::vector<size_t> assistants(const Json::Array& messages) {
  std::vector<size_t> found;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (is_assistant(messages[i])) found.push_back(i);
  }
  return found;
}

Json::Array first_messages(const Json::Array& messages, size_t count) {
  return {messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(count)};
}

// How much of the generation prompt to look for: all, then less of the white space at its end, which a template may
// write otherwise in a finished turn.
std::vector<size_t> prompt_sizes(const std::string& prompt) {
  std::vector<size_t> sizes;
  for (size_t size = prompt.size(); size > 0; --size) {
    sizes.push_back(size);
    if (!is_space(prompt[size - 1])) break;
  }
  return sizes;
}

// The blocks between `begin` and `end` characters, as bytes of the text without them; `text` receives that text.
std::vector<ByteSpan> take_blocks(const std::string& rendered, const std::string& begin, const std::string& end,
                                  std::string& text) {
  std::vector<ByteSpan> blocks;
  int depth = 0;
  for (size_t at = 0; at < rendered.size();) {
    size_t bytes = std::min(character_bytes(rendered, at), rendered.size() - at);
    auto here = static_cast<int64_t>(text.size());
    if (rendered.compare(at, bytes, begin) == 0) {
      if (depth++ == 0) blocks.push_back({here, here});
    } else if (rendered.compare(at, bytes, end) == 0) {
      if (--depth == 0 && !blocks.empty()) blocks.back().end = here;
    } else {
      text.append(rendered, at, bytes);
    }
    at += bytes;
  }
  return blocks;
}

// A message's spans in order and apart; pieces of one message that touch become one.
void append(std::vector<AssistantSpan>& spans, AssistantSpan span) {
  if (!spans.empty()) span.bytes.begin = std::max(span.bytes.begin, spans.back().bytes.end);
  if (span.bytes.end > span.bytes.begin) spans.push_back(span);
}

}  // namespace

// One conversation being looked at.
struct SpanFinder::Turn {
  const Conversation& conversation;
  const RenderOptions& options;
  const std::string& text;
  std::string prompt;  // what the template writes to make the assistant speak; may be empty
};

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

// The block's last run of end tokens and white space is cut behind the first token of the run; a block without one
// takes the token that follows it.
int64_t SpanFinder::end_of_block(const Turn& turn, ByteSpan block) const {
  const std::string& text = turn.text;
  auto ends_before = [&](size_t at) -> std::optional<size_t> {  // where a token begins that ends at `at`
    for (const auto& token : tokens_) {
      size_t bytes = token.content.size();
      bool fits = token.special && at >= bytes + static_cast<size_t>(block.begin);
      if (fits && text.compare(at - bytes, bytes, token.content) == 0 && may_end_a_turn(turn, token)) return at - bytes;
    }
    return std::nullopt;
  };
  std::optional<size_t> cut;
  for (auto at = static_cast<size_t>(block.end); at > static_cast<size_t>(block.begin);) {
    if (auto begin = ends_before(at)) {
      cut = at;
      at = *begin;
    } else if (is_space(text[at - 1])) {
      --at;
    } else {
      break;
    }
  }
  if (cut) return static_cast<int64_t>(*cut);
  size_t next = skip_space(text, static_cast<size_t>(block.end));
  auto bytes = token_at(turn, next, false);
  return bytes ? static_cast<int64_t>(next + *bytes) : block.end;
}

// What the generation prompt already says is not for the model to write, although the block may hold its end.
int64_t SpanFinder::begin_of_block(const Turn& turn, ByteSpan block) const {
  auto begin = static_cast<size_t>(block.begin);
  for (size_t size : prompt_sizes(turn.prompt)) {
    for (size_t at = std::min(begin + size - 1, static_cast<size_t>(block.end)); at >= begin && at >= size; --at) {
      if (turn.text.compare(at - size, size, turn.prompt, 0, size) == 0) return static_cast<int64_t>(at);
    }
  }
  return block.begin;
}

// Some templates end the last turn and then the text (<|end|>, newline, <|endoftext|>): the first end is the turn's.
bool SpanFinder::is_second_end(const Turn& turn, const std::vector<AssistantSpan>& spans, ByteSpan block) const {
  if (spans.empty() ||
      skip_space(turn.text, static_cast<size_t>(spans.back().bytes.end)) < static_cast<size_t>(block.begin)) {
    return false;
  }
  size_t at = skip_space(turn.text, static_cast<size_t>(block.begin));
  auto bytes = token_at(turn, at, true);
  return bytes && static_cast<int64_t>(at + *bytes) == block.end;
}

std::vector<AssistantSpan> SpanFinder::from_blocks(const Turn& turn) const {
  char32_t plane = unused_plane(turn.text);
  std::string begin = utf8_of(plane), end = utf8_of(plane + 1), plain;
  auto rendered = renderer_.render(turn.conversation.messages, turn.conversation.tools, turn.options, {begin, end});
  auto blocks = take_blocks(rendered, begin, end, plain);
  auto order = assistants(turn.conversation.messages);
  if (plain != turn.text) fail_hidden(order.front());
  std::optional<UnmarkedText> marked;
  bool calls = std::ranges::any_of(turn.conversation.messages, has_tool_calls);
  if (calls || blocks.size() != order.size()) marked = marked_rendering(turn);
  require_calls(turn, marked);
  std::vector<AssistantSpan> spans;
  for (size_t i = 0; i < blocks.size(); ++i) {
    ByteSpan block = blocks[i];
    size_t message = order[std::min(i, order.size() - 1)];
    if (marked && blocks.size() != order.size()) {
      for (size_t k : order) {  // the last message that begins before the block's end
        const auto& extent = marked->extents[k];
        if (extent && extent->bytes.begin <= block.end) message = k;
      }
    }
    block.begin = begin_of_block(turn, block);
    block.end = end_of_block(turn, block);
    if (!is_second_end(turn, spans, block)) append(spans, {block, message});
  }
  return spans;
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

// The spans of templates that mark them themselves, with {% generation %}.
#include <algorithm>

#include "core/utf8.h"
#include "text/chat_turn.h"

namespace prentice {
namespace {

// The blocks between `begin` and `end` characters, as bytes of the text without them; `text` receives that text.
std::vector<ByteSpan> take_blocks(const std::string& rendered, const std::string& begin, const std::string& end,
                                  std::string& text) {
  std::vector<ByteSpan> blocks;
  int depth = 0;
  for (size_t at = 0; at < rendered.size();) {
    size_t bytes = std::min(utf8_size_by_lead(rendered, at), rendered.size() - at);
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

}  // namespace

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

}  // namespace prentice

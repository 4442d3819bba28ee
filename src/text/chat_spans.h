// Which bytes of a rendered conversation an assistant must write: the rules of the spans.
#pragma once

#include <string>
#include <vector>

#include "text/chat_render.h"
#include "text/markers.h"

namespace prentice {

// A span is what the model has to produce in a turn: from the end of the generation prompt (so a thinking block or the
// frame of a tool call that the template writes after it belongs to the span) through the end-of-turn token. Where no
// generation prompt is found, it begins with the first non-space character of the content: a header is not trained.
class SpanFinder {
 public:
  SpanFinder(const ChatRenderer& renderer, const Tokenizer& tokenizer);

  // By {% generation %} blocks if the template has them, else by markers. Errors, naming the template: `model` when
  // neither shows where the assistant's words are; `data` when it leaves out the tool calls of this conversation.
  std::vector<AssistantSpan> find(const Conversation& conversation, const RenderOptions& options,
                                  const std::string& text) const;

 private:
  struct Turn;
  std::vector<AssistantSpan> from_markers(const Turn& turn) const;
  std::vector<AssistantSpan> from_blocks(const Turn& turn) const;
  std::optional<UnmarkedText> marked_rendering(const Turn& turn) const;
  std::string generation_prompt(const Turn& turn) const;
  std::optional<int64_t> begin_after_prompt(const Turn& turn, size_t message, int64_t from, int64_t to) const;
  std::optional<size_t> end_of_question(const Turn& turn, size_t message, const std::string& before, size_t to) const;
  int64_t end_of_turn(const Turn& turn, size_t message, int64_t content_end) const;
  bool is_second_end(const Turn& turn, const std::vector<AssistantSpan>& spans, ByteSpan block) const;
  int64_t begin_of_block(const Turn& turn, ByteSpan block) const;
  int64_t end_of_block(const Turn& turn, ByteSpan block) const;
  std::optional<size_t> token_at(const Turn& turn, size_t at, bool special_only) const;
  bool may_end_a_turn(const Turn& turn, const AddedToken& token) const;
  void require_calls(const Turn& turn, const std::optional<UnmarkedText>& marked) const;
  [[noreturn]] void fail_hidden(size_t message) const;

  const ChatRenderer& renderer_;
  std::vector<AddedToken> tokens_;  // that a turn may end with, longest first
};

}  // namespace prentice

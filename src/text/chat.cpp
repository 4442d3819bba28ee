#include "text/chat.h"

#include "text/chat_render.h"
#include "text/chat_spans.h"

namespace prentice {

struct ChatTemplate::Impl {
  Impl(std::string source, std::string origin, const Tokenizer& tokenizer)
      : renderer(std::move(source), std::move(origin), tokenizer), spans(renderer, tokenizer) {}
  ChatRenderer renderer;
  SpanFinder spans;
};

ChatTemplate::ChatTemplate(std::string source, std::string origin, const Tokenizer& tokenizer)
    : impl_(std::make_unique<Impl>(std::move(source), std::move(origin), tokenizer)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const Conversation& conversation, const RenderOptions& options) const {
  return impl_->renderer.render(conversation.messages, conversation.tools, options);
}

std::optional<std::string> ChatTemplate::try_render(const Conversation& conversation,
                                                    const RenderOptions& options) const {
  return impl_->renderer.try_render(conversation.messages, conversation.tools, options);
}

RenderedChat ChatTemplate::render_with_spans(const Conversation& conversation, const RenderOptions& options) const {
  RenderedChat rendered{.text = render(conversation, options)};
  rendered.assistant = impl_->spans.find(conversation, options, rendered.text);
  return rendered;
}

bool ChatTemplate::asks_for_the_date() const { return source().find("strftime_now") != std::string::npos; }
const std::string& ChatTemplate::source() const { return impl_->renderer.source(); }
const std::string& ChatTemplate::origin() const { return impl_->renderer.origin(); }

}  // namespace prentice

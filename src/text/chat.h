// Chat templates: minijinja with the globals and methods Hugging Face defines, and the spans of text an assistant
// wrote.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace prentice {

// Messages in the OpenAI form, roles spelled system, user, assistant, tool; content a string; tool_calls as OpenAI's.
struct Conversation {
  Json::Array messages;
  Json tools;                   // array or null
  std::vector<double> weights;  // one per message; 0 = not trained. Empty = all 1
};

struct RenderOptions {
  bool add_generation_prompt = false;
  Json::Object
      arguments;  // data.template_args, visible to the template as variables (date_string, enable_thinking, ...)
};

struct AssistantSpan {
  ByteSpan bytes;      // of the rendered text: content, and the end-of-turn token that follows it
  size_t message = 0;  // index into Conversation::messages
};

struct RenderedChat {
  std::string text;
  std::vector<AssistantSpan> assistant;  // ascending, disjoint
};

class ChatTemplate {
 public:
  // `source` is the Jinja text, from the file `origin` (its member chat_template if that ends in .json); special tokens
  // come from the tokenizer. Errors: `model`, naming `origin`, line included.
  ChatTemplate(std::string source, std::string origin, const Tokenizer& tokenizer);
  ChatTemplate(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Rendered as transformers' apply_chat_template does. Errors: `data` for what this conversation makes the template
  // raise (raise_exception's own words); `model` for a template that fails on plain conversations in the same way or
  // exceeds a budget, so that a reader of many rows stops at once.
  std::string render(const Conversation&, const RenderOptions&) const;
  // nullopt where the template raises. Errors: `model`, a budget exceeded.
  std::optional<std::string> try_render(const Conversation&, const RenderOptions&) const;
  // Also finds what the assistant wrote: {% generation %} blocks, else marker characters. Errors: as render;
  // `model` when neither shows it; `data` for tool calls that the template leaves out.
  RenderedChat render_with_spans(const Conversation&, const RenderOptions&) const;

  bool asks_for_the_date() const;  // uses strftime_now
  const std::string& source() const;
  const std::string& origin() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A template over one data record (data.prompt, data.completion): an undefined variable is an error that names it.
class RecordTemplate {
 public:
  // key: for messages, "data.prompt". Errors: `usage` for a broken template.
  explicit RecordTemplate(std::string source, std::string key);
  RecordTemplate(RecordTemplate&&) noexcept;
  ~RecordTemplate();
  // Errors: `data`; `usage` where no record can be to blame and for a budget exceeded.
  std::string render(const Json& record) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace prentice

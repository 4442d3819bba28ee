// One rendering of a chat template: the variables a template sees, and the template's errors in words.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "core/error.h"
#include "text/bridge.h"
#include "text/chat.h"

namespace prentice {

// The members of a message that may hold its reasoning; templates read the first, some the second.
inline constexpr std::string_view kReasoningNames[] = {"reasoning_content", "thinking", "reasoning"};

// What transformers passes: messages, tools, documents, add_generation_prompt, the special tokens that exist, and the
// template's arguments, which win over all of these.
class ChatRenderer {
 public:
  ChatRenderer(std::string source, std::string origin, const Tokenizer& tokenizer);

  struct Blocks {
    std::string_view begin, end;  // written around what {% generation %} renders
  };
  // Errors: as ChatTemplate::render.
  std::string render(const Json::Array& messages, const Json& tools, const RenderOptions& options,
                     Blocks blocks = {}) const;
  // nullopt where the template raises: a part of a conversation may not suit it. Errors: `model`, a budget exceeded.
  std::optional<std::string> try_render(const Json::Array& messages, const Json& tools,
                                        const RenderOptions& options) const;

  const std::string& source() const { return source_; }
  const std::string& origin() const { return origin_; }
  bool has_generation_blocks() const { return compiled_->has_generation_blocks(); }

 private:
  Json::Object variables(const Json::Array& messages, const Json& tools, const RenderOptions& options) const;
  std::variant<std::string, JinjaFailure> attempt(const Json::Array& messages, const Json& tools,
                                                  const RenderOptions& options, Blocks blocks) const;
  // True when plain conversations fail in the same way, so that this one is not to blame.
  bool is_everywhere(const JinjaFailure& failure, const RenderOptions& options) const;
  [[noreturn]] void fail_with(const JinjaFailure& failure, ExitCode code) const;

  std::string source_, origin_;
  Json::Object special_tokens_;  // bos_token and its like
  std::optional<JinjaTemplate> compiled_;
};

}  // namespace prentice

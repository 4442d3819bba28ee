#include "text/chat_render.h"

#include <fmt/format.h>

#include <algorithm>

namespace prentice {
namespace {

// The date a template sees unless data.template_args.date_string says another: Llama 3.1's own fallback.
constexpr std::string_view kDate = "26 Jul 2024";

// Whatever name the data has for a message's reasoning, a template finds it under the name it reads.
Json with_reasoning_names(const Json& message) {
  const Json* reasoning = nullptr;
  for (auto name : kReasoningNames) {
    const Json* found = message.find(name);
    if (!reasoning && found && !found->is_null()) reasoning = found;
  }
  if (!reasoning) return message;
  Json copy = message;
  if (!copy.find("thinking")) copy["thinking"] = *reasoning;
  copy["reasoning_content"] = *reasoning;
  return copy;
}

}  // namespace

ChatRenderer::ChatRenderer(std::string source, std::string origin, const Tokenizer& tokenizer)
    : source_(std::move(source)), origin_(std::move(origin)) {
  if (tokenizer.bos_id()) special_tokens_.emplace_back("bos_token", tokenizer.bos_token());
  if (tokenizer.eos_id()) special_tokens_.emplace_back("eos_token", tokenizer.eos_token());
  if (tokenizer.pad_id()) special_tokens_.emplace_back("pad_token", tokenizer.pad_token());
  if (tokenizer.unk_id()) special_tokens_.emplace_back("unk_token", tokenizer.unk_token());
  auto compiled = JinjaTemplate::compile(source_, false);
  if (auto* failure = std::get_if<JinjaFailure>(&compiled)) fail_with(*failure, ExitCode::model);
  compiled_ = std::move(std::get<JinjaTemplate>(compiled));
}

void ChatRenderer::fail_with(const JinjaFailure& failure, ExitCode code) const {
  if (failure.line <= 0) fail(code, fmt::format("{}: chat template: {}", origin_, failure.text));
  if (origin_.ends_with(".json")) {  // the line is the member's, not the file's
    fail(code, fmt::format("{}: chat_template, line {}: {}", origin_, failure.line, failure.text));
  }
  fail(code, fmt::format("{}:{}: chat template: {}", origin_, failure.line, failure.text));
}

bool ChatRenderer::is_everywhere(const JinjaFailure& failure, const RenderOptions& options) const {
  const auto turn = [](const char* role) { return Json(Json::Object{{"role", role}, {"content", "A."}}); };
  const Json::Array plain[] = {{turn("user"), turn("assistant")}, {turn("system"), turn("user"), turn("assistant")}};
  return std::ranges::all_of(plain, [&](const Json::Array& messages) {
    const auto result = attempt(messages, nullptr, options, {});
    const auto* other = std::get_if<JinjaFailure>(&result);
    return other && other->text == failure.text && other->line == failure.line;
  });
}

Json::Object ChatRenderer::variables(const Json::Array& messages, const Json& tools,
                                     const RenderOptions& options) const {
  Json::Array prepared;
  for (const auto& message : messages) prepared.push_back(with_reasoning_names(message));
  Json variables = Json::Object{{"messages", std::move(prepared)},
                                {"tools", tools},
                                {"documents", nullptr},
                                {"add_generation_prompt", options.add_generation_prompt}};
  for (const auto& [name, value] : special_tokens_) variables[name] = value;
  for (const auto& [name, value] : options.arguments) variables[name] = value;
  return variables.as_object();
}

std::variant<std::string, JinjaFailure> ChatRenderer::attempt(const Json::Array& messages, const Json& tools,
                                                              const RenderOptions& options, Blocks blocks) const {
  Json all = variables(messages, tools, options);
  const Json* date = all.find("date_string");
  std::string json = all.dump();
  return compiled_->render({.json = json,
                            .date = date && date->is_string() ? std::string_view(date->as_string()) : kDate,
                            .block_begin = blocks.begin,
                            .block_end = blocks.end});
}

std::string ChatRenderer::render(const Json::Array& messages, const Json& tools, const RenderOptions& options,
                                 Blocks blocks) const {
  auto result = attempt(messages, tools, options, blocks);
  if (auto* failure = std::get_if<JinjaFailure>(&result)) {
    const bool is_template = failure->kind == JinjaFailure::Kind::budget ||
                             failure->kind == JinjaFailure::Kind::broken || is_everywhere(*failure, options);
    fail_with(*failure, is_template ? ExitCode::model : ExitCode::data);
  }
  return std::move(std::get<std::string>(result));
}

std::optional<std::string> ChatRenderer::try_render(const Json::Array& messages, const Json& tools,
                                                    const RenderOptions& options) const {
  auto result = attempt(messages, tools, options, {});
  if (auto* text = std::get_if<std::string>(&result)) return std::move(*text);
  const auto& failure = std::get<JinjaFailure>(result);
  if (failure.kind == JinjaFailure::Kind::budget) fail_with(failure, ExitCode::model);
  return std::nullopt;
}

}  // namespace prentice

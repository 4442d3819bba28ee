// The kind `generate`: sample from an artifact, once or in a conversation.
#include "model/generate.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <iostream>
#include <string>

#include "artifact/open.h"
#include "artifact/stop_tokens.h"
#include "core/error.h"
#include "data/data_template.h"
#include "plan/model_checks.h"
#include "recipes/programs.h"
#include "run/signals.h"
#include "text/chat.h"
#include "text/stop_cut.h"

namespace prentice {

namespace {

struct Sampler {
  Model model;
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat;
  SampleOptions options;
  std::vector<std::string> stop;

  struct Answer {
    std::vector<int32_t> ids;
    std::string text;
    bool stopped = false;  // by a stop token or stop text, not by the limit
  };

  std::vector<int32_t> prompt_ids(const Json::Array& messages) const {
    const std::string text = chat->render({.messages = messages}, {.add_generation_prompt = true});
    const std::string bos = tokenizer.bos_token();
    const bool has_bos = !bos.empty() && text.starts_with(bos);
    return tokenizer.encode(text, !has_bos);
  }

  // `stream`: where the text goes as it is made; nullptr: nowhere.
  Answer answer(const std::vector<int32_t>& prompt, uint64_t seed, std::FILE* stream) const {
    Answer result;
    StreamDecoder decoder(tokenizer);
    StopCut cut(stop);
    SampleOptions sampling = options;
    sampling.seed = seed;
    const auto emit = [&](const std::string& text) {
      result.text += text;
      if (stream) std::fwrite(text.data(), 1, text.size(), stream), std::fflush(stream);
    };
    result.ids = generate(model, prompt, sampling, [&](int32_t id) {
      throw_if_stopped();
      const auto& ends = sampling.stop_ids;
      result.stopped = std::find(ends.begin(), ends.end(), id) != ends.end();
      if (!result.stopped) emit(cut.push(decoder.push(id)));
      result.stopped = result.stopped || cut.stopped();
      return !result.stopped;
    });
    emit(cut.push(decoder.finish()) + cut.finish());
    return result;
  }
};

// Until a person has typed a line: reading it would go on after a signal, and asking to stop would be of no use.
void wait_for_line() {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  while (::poll(&input, 1, -1) < 0 && errno == EINTR) throw_if_stopped();
}

int converse(const Sampler& sampler) {
  if (!sampler.chat) fail(ExitCode::usage, "--chat: this model has no chat template");
  Json::Array messages;
  const bool terminal = isatty(STDIN_FILENO);
  if (terminal) fmt::print("An empty line ends the conversation.\n");
  for (std::string line;;) {
    if (terminal) {
      fmt::print("> ");
      std::fflush(stdout);
      wait_for_line();
    }
    if (!std::getline(std::cin, line) || line.empty()) break;
    messages.push_back(Json::Object{{"role", "user"}, {"content", line}});
    const auto answer = sampler.answer(sampler.prompt_ids(messages), sampler.options.seed, stdout);
    fmt::print("\n");
    messages.push_back(Json::Object{{"role", "assistant"}, {"content", answer.text}});
  }
  return 0;
}

}  // namespace

int run_program(GenerateRecipe recipe, const Invocation& invocation) {
  if (recipe.generate.prompt.empty() && !invocation.chat) {
    fail(ExitCode::usage, "generate.prompt: a prompt is needed",
         "generate.prompt=\"...\", or --chat for a conversation");
  }
  if (invocation.chat && invocation.json)
    fail(ExitCode::usage, "--chat: a conversation is text, expected no --json", "generate.prompt=\"...\" --json");
  Opened opened = open_recipe(recipe);
  std::optional<ChatTemplate> chat = open_chat_template({}, opened.tokenizer);
  const auto stop_ids = stop_token_ids(opened.artifact, opened.spec, opened.tokenizer);
  const int64_t vocab = opened.tokenizer.vocab_size();
  const GenerateSection& section = recipe.generate;
  const Sampler sampler{.model = load_weights(opened, recipe.run.seed),
                        .tokenizer = std::move(opened.tokenizer),
                        .chat = std::move(chat),
                        .options = {.max_new_tokens = section.max_new_tokens,
                                    .temperature = section.temperature,
                                    .top_p = section.top_p,
                                    .top_k = section.top_k,
                                    .seed = static_cast<uint64_t>(section.seed),
                                    .stop_ids = stop_ids,
                                    .vocab = vocab},
                        .stop = section.stop};
  if (invocation.chat) return converse(sampler);

  const auto prompt = sampler.chat ? sampler.prompt_ids({Json::Object{{"role", "user"}, {"content", section.prompt}}})
                                   : sampler.tokenizer.encode(section.prompt, /*add_special=*/true);
  std::FILE* to = invocation.json ? nullptr : invocation.inner ? stderr : stdout;  // the end of other work is its own
  Json::Array outputs;
  for (int64_t i = 0; i < section.n; ++i) {
    const auto answer = sampler.answer(prompt, static_cast<uint64_t>(section.seed + i), to);
    if (to) fmt::print(to, "\n");
    outputs.push_back(Json::Object{{"text", answer.text},
                                   {"ids", Json::Array(answer.ids.begin(), answer.ids.end())},
                                   {"finish", answer.stopped ? "stop" : "length"}});
  }
  if (invocation.json) {
    const Json result = Json::Object{{"schema", 1},
                                     {"model", opened.artifact.address},
                                     {"prompt", section.prompt},
                                     {"prompt_ids", Json::Array(prompt.begin(), prompt.end())},
                                     {"outputs", outputs}};
    fmt::print("{}\n", result.dump());
  }
  return 0;
}

}  // namespace prentice

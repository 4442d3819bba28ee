#include "products/selftest.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/topk.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>

#include "data/steps.h"
#include "model/generate.h"
#include "text/chat.h"

namespace prentice {

namespace {

constexpr int64_t kGreedyTokens = 16, kTextPrompt = 8, kTop = 5;

// Everything before the first trained token; text is trained from its start, so there a few tokens serve as a prompt.
std::vector<int32_t> prompt_of(const Sequence& sequence) {
  const auto first =
      std::find_if(sequence.labels.begin(), sequence.labels.end(), [](int32_t label) { return label >= 0; });
  const int64_t trained_from = first - sequence.labels.begin() + 1;
  const int64_t length = std::min(sequence.size(), trained_from > 1 ? trained_from : kTextPrompt);
  return {sequence.ids.begin(), sequence.ids.begin() + length};
}

// Fills in what follows the prompt, which is read alone: a rotation may depend on the length.
void add_answer(const Model& model, const std::vector<int32_t>& stop_ids, SelfTestCase& test) {
  test.greedy_ids = generate(model, test.prompt_ids, {.max_new_tokens = kGreedyTokens, .stop_ids = stop_ids});
  KvCache cache(model);
  const auto steps = static_cast<int64_t>(test.greedy_ids.size());
  const auto length = static_cast<int64_t>(test.prompt_ids.size());
  Tensor hidden = forward_cached(model, test.prompt_ids, cache).narrow(0, length - 1, 1);
  if (steps > 1) hidden = at::cat({hidden, forward_cached(model, std::span(test.greedy_ids).first(steps - 1), cache)});
  const auto [values, likeliest] = at::topk(at::log_softmax(logits(model, hidden).to(at::kDouble), -1), kTop);
  const Tensor host_values = values.cpu().contiguous(), host_ids = likeliest.cpu().contiguous();
  const auto* log_probs = host_values.const_data_ptr<double>();
  for (int64_t i = 0; i < steps; ++i) test.greedy_margins.push_back(log_probs[i * kTop] - log_probs[i * kTop + 1]);
  for (int64_t i = 0; i < kTop; ++i) {
    test.top_log_probs.emplace_back(static_cast<int32_t>(host_ids.const_data_ptr<int64_t>()[i]), log_probs[i]);
  }
}

bool starts_with_bos(const Tokenizer& tokenizer, const std::string& text) {
  const auto bos = tokenizer.bos_token();
  return !bos.empty() && text.starts_with(bos);
}

// As training cuts a text that goes on: what the post-processor puts behind it goes.
std::vector<int32_t> cut(const Tokenizer& tokenizer, const std::string& text, bool add_special) {
  auto [ids, offsets] = tokenizer.encode_with_offsets(text, add_special);
  while (add_special && !ids.empty() && offsets.back() == ByteSpan{} && tokenizer.is_special(ids.back())) {
    ids.pop_back(), offsets.pop_back();
  }
  return ids;
}

// A text that is cut into the prompt's ids: the example's, else that of the ids themselves.
void find_text(const Tokenizer& tokenizer, const std::string& prompt, SelfTestCase& test) {
  for (const bool special : {false, true}) {  // whether the text is to show special tokens
    const std::string text = special ? tokenizer.decode(test.prompt_ids, /*skip_special=*/false) : prompt;
    test.add_special = !starts_with_bos(tokenizer, text);
    if (cut(tokenizer, text, test.add_special) != test.prompt_ids) continue;
    test.prompt = text;
    return;
  }
}

Json turn(const char* role, const char* content) { return Json::Object{{"role", role}, {"content", content}}; }

// Of the assistant, who is asked for its turn. nullopt: without a template, with one that writes the date, and where it
// refuses the conversation.
std::optional<std::string> rendered(const Tokenizer& tokenizer, const Json::Array& messages) {
  if (!tokenizer.chat_template()) return std::nullopt;
  const ChatTemplate chat(*tokenizer.chat_template(), tokenizer.chat_template_file().string(), tokenizer);
  if (chat.asks_for_the_date()) return std::nullopt;
  return chat.try_render({.messages = messages}, {.add_generation_prompt = true});
}

std::vector<SelfTestChat> chats_of(const Tokenizer& tokenizer) {
  const Json::Array messages = {turn("user", "Which day comes after Monday?"), turn("assistant", "Tuesday."),
                                turn("user", "And after that?\n  Say it in one word.")};
  const auto text = rendered(tokenizer, messages);
  if (!text) return {};
  return {{.messages = messages, .ids = cut(tokenizer, *text, !starts_with_bos(tokenizer, *text))}};
}

constexpr const char* kQuestions[kSelfTestCases] = {"What colour is the sky on a clear day?",
                                                    "Write one sentence about a dog and a river.",
                                                    "How many minutes are in two hours?"};
constexpr const char* kBeginnings[kSelfTestCases] = {"Once upon a time there was a little dog who lived near a river.",
                                                     "The office opens at eight.", "def mean(values):\n    total ="};
// Larger models are read from the disk for each token.
constexpr int64_t kReadQuickly = 1'000'000'000, kFewTokens = 4;

std::vector<SelfTestCase> own_prompts(const Tokenizer& tokenizer, int64_t most) {
  std::vector<SelfTestCase> cases;
  for (size_t i = 0; i < kSelfTestCases; ++i) {
    const std::string text = rendered(tokenizer, {turn("user", kQuestions[i])}).value_or(kBeginnings[i]);
    SelfTestCase one{.prompt_ids = cut(tokenizer, text, !starts_with_bos(tokenizer, text))};
    find_text(tokenizer, text, one);
    if (!one.prompt_ids.empty() && std::ssize(one.prompt_ids) <= most) cases.push_back(std::move(one));
  }
  return cases;
}

// scores: [V] f64
void append_likeliest(const Tensor& scores, SelfTestCase& test) {
  const auto [values, ids] = at::topk(at::log_softmax(scores, -1), kTop);
  const auto* log_probs = values.const_data_ptr<double>();
  const auto* likeliest = ids.const_data_ptr<int64_t>();
  if (test.greedy_ids.empty()) {
    for (int64_t i = 0; i < kTop; ++i)
      test.top_log_probs.emplace_back(static_cast<int32_t>(likeliest[i]), log_probs[i]);
  }
  test.greedy_ids.push_back(static_cast<int32_t>(likeliest[0]));
  test.greedy_margins.push_back(log_probs[0] - log_probs[1]);
}

// What was asked and answered so far.
Sequence so_far(const SelfTestCase& test) {
  Sequence sequence{.ids = test.prompt_ids};
  sequence.ids.insert(sequence.ids.end(), test.greedy_ids.begin(), test.greedy_ids.end());
  sequence.labels.assign(sequence.ids.size(), static_cast<int32_t>(kNoLabel));
  return sequence;
}

}  // namespace

SelfTest make_self_test(const Model& model, const DataSet& data, const Tokenizer& tokenizer,
                        const std::vector<int32_t>& stop_ids) {
  const c10::AutoGradMode no_gradients(false);
  SelfTest test{.chats = chats_of(tokenizer), .stop_ids = stop_ids};
  for (const auto& sequence : data.encoded.sequences) {
    if (test.cases.size() == kSelfTestCases) break;
    if (data.encoded.group > 1 && sequence.role == kRejected) continue;  // its prompt is the chosen answer's
    SelfTestCase one{.prompt_ids = prompt_of(sequence)};
    find_text(tokenizer, data.examples.at(static_cast<size_t>(sequence.sample)).prompt, one);
    add_answer(model, stop_ids, one);
    if (!one.greedy_ids.empty()) test.cases.push_back(std::move(one));
  }
  return test;
}

SelfTest make_self_test(const WeightReader& model, const Tokenizer& tokenizer, const std::vector<int32_t>& stop_ids,
                        c10::Device device, const std::function<void()>& before_layer) {
  const int64_t steps = parameter_count(model.spec) < kReadQuickly ? kGreedyTokens : kFewTokens;
  SelfTest test{.cases = own_prompts(tokenizer, model.spec.max_positions - steps),
                .chats = chats_of(tokenizer),
                .stop_ids = stop_ids};
  std::vector<SelfTestCase*> open;
  for (auto& one : test.cases) open.push_back(&one);
  for (int64_t step = 0; step < steps && !open.empty(); ++step) {
    std::vector<Sequence> sequences;
    for (const auto* one : open) sequences.push_back(so_far(*one));
    std::vector<const Sequence*> pointers;
    for (const auto& sequence : sequences) pointers.push_back(&sequence);
    const Tensor scores = last_logits(model, to_device(collate(pointers, 0), device), before_layer);
    for (size_t i = 0; i < open.size(); ++i) append_likeliest(scores.select(0, static_cast<int64_t>(i)), *open[i]);
    std::erase_if(open,
                  [&](const SelfTestCase* one) { return std::ranges::count(stop_ids, one->greedy_ids.back()) > 0; });
  }
  return test;
}

}  // namespace prentice

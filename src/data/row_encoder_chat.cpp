#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/utf8.h"
#include "data/row_encoder.h"

namespace prentice {

namespace {

bool is_role(const Json& message, std::string_view role) { return message.at("role").as_string() == role; }

// The conversation up to message `end`, as a prompt that the assistant answers.
Conversation before_message(const Conversation& conversation, size_t end) {
  return {.messages = {conversation.messages.begin(), conversation.messages.begin() + end},
          .tools = conversation.tools,
          .weights = {}};
}

// The row without the messages between the system turns and message `first`.
Row from_message(const Row& row, size_t first) {
  Row shorter{.kind = row.kind, .origin = row.origin};
  shorter.conversation.tools = row.conversation.tools;
  for (size_t i = 0; i < row.conversation.messages.size(); ++i) {
    if (i < first && !is_role(row.conversation.messages[i], "system")) continue;
    shorter.conversation.messages.push_back(row.conversation.messages[i]);
    shorter.conversation.weights.push_back(row.conversation.weights[i]);
    shorter.prompt_messages += i < row.prompt_messages;
  }
  return shorter;
}

// Fills the gaps between the spans: with data.train_on: all every token belongs to one.
std::vector<TrainedSpan> with_gaps(const std::vector<TrainedSpan>& spans, int64_t end) {
  std::vector<TrainedSpan> all;
  int64_t at = 0;
  for (const auto& span : spans) {
    if (at < span.bytes.begin) all.push_back({{at, span.bytes.begin}, 1, span.message});
    all.push_back(span);
    at = span.bytes.end;
  }
  if (at < end) all.push_back({{at, end}, 1, 0});
  return all;
}

// An answer of nothing may stand in a conversation, but is nothing to learn.
void require_words(const Json::Array& messages, const std::vector<double>& weights) {
  for (size_t i = 0; i < messages.size(); ++i) {
    if (weights[i] == 0 || !is_role(messages[i], "assistant") || messages[i].find("tool_calls")) continue;
    const auto& words = messages[i].at("content").as_string();
    if (!is_blank(words)) continue;
    bad_record(fmt::format("message {}: the assistant says nothing{}", i + 1, words.empty() ? "" : " but white space"),
               "leave the message out, give it the text to learn, or give it \"weight\": 0");
  }
}

}  // namespace

// What each message weighs under data.train_on; 0 = not trained.
std::vector<double> RowEncoder::message_weights(const Row& row) const {
  const auto& messages = row.conversation.messages;
  auto weights = row.conversation.weights;
  if (section_.train_on == TrainOn::all) return weights;
  size_t first = row.prompt_messages;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool begins_anew =
        section_.train_on == TrainOn::last ? is_role(messages[i], "assistant") : is_role(messages[i], "user");
    if (section_.train_on != TrainOn::assistant && begins_anew) first = std::max(first, i);
  }
  std::fill(weights.begin(), weights.begin() + first, 0.0);
  return weights;
}

RowEncoder::Draft RowEncoder::draft_chat(const Row& row) const {
  const auto weights = message_weights(row);
  require_words(row.conversation.messages, weights);
  auto rendered = template_->render_with_spans(row.conversation, render_options_);
  Draft draft{.text = std::move(rendered.text)};
  size_t answer = row.conversation.messages.size();  // the last message that is trained
  for (const auto& span : rendered.assistant) {
    draft.spans.push_back({span.bytes, weights[span.message], span.message});
    if (weights[span.message] > 0) answer = span.message;
  }
  ByteSpan bytes{static_cast<int64_t>(draft.text.size()), 0};
  for (const auto& span : draft.spans) {
    if (span.message != answer) continue;
    bytes = {std::min(bytes.begin, span.bytes.begin), std::max(bytes.end, span.bytes.end)};
  }
  if (bytes.begin < bytes.end) draft.completion = draft.text.substr(bytes.begin, bytes.end - bytes.begin);
  if (options_.for_evaluation) {
    auto options = render_options_;
    options.add_generation_prompt = true;
    draft.prompt = template_->render(before_message(row.conversation, answer), options);
  } else {
    draft.prompt = draft.text.substr(0, bytes.begin);
  }
  const auto bos = tokenizer_.bos_token();
  draft.add_special = bos.empty() || !draft.text.starts_with(bos);
  if (section_.train_on == TrainOn::all) {
    draft.spans = with_gaps(draft.spans, static_cast<int64_t>(draft.text.size()));
  }
  return draft;
}

void RowEncoder::finish_chat(const Row& row, Draft& draft) const {
  auto& [ids, offsets] = draft.encoding;
  const size_t added = leading_added(draft.encoding);
  // The template writes the end of the conversation, so what the post-processor puts there goes.
  while (draft.add_special && ids.size() > added && offsets.back() == ByteSpan{} && tokenizer_.is_special(ids.back())) {
    ids.pop_back();
    offsets.pop_back();
  }
  check_bos(ids);
  draft.length = static_cast<int64_t>(ids.size());
  const auto mode = overlong_of(row.kind);
  if (exceeds(draft) && mode == Overlong::truncate) return fit_chat(row, draft);
  draft.too_long = exceeds(draft) && mode == Overlong::error;
  draft.dropped = exceeds(draft) && mode == Overlong::drop;
  if (draft.too_long || draft.dropped) return;
  auto targets = find_targets(draft.encoding, draft.spans, added);
  if (!settle_straddles(row, draft, targets)) return;
  if (section_.train_on != TrainOn::all) check_turn_ends(draft, targets);
  draft.sequences.push_back(make_sequence(std::move(ids), targets.weights));
}

// Leaves out whole turns, the oldest first, until the row fits; a last exchange that does not fit is dropped.
void RowEncoder::fit_chat(const Row& row, Draft& draft) const {
  const auto& messages = row.conversation.messages;
  bool first_user = true;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (!is_role(messages[i], "user") || std::exchange(first_user, false)) continue;
    const Row shorter = from_message(row, i);
    Draft attempt = draft_chat(shorter);
    attempt.encoding = tokenizer_.encode_with_offsets(attempt.text, attempt.add_special);
    if (static_cast<int64_t>(attempt.encoding.ids.size()) > limit_) continue;
    finish_chat(shorter, attempt);
    attempt.cut_tokens = draft.length - attempt.length;
    attempt.length = draft.length;
    draft = std::move(attempt);
    return;
  }
  draft.dropped = true;
}

// A token that begins in the white space before an answer and goes on into it is what the model will generate, if the
// generation prompt ends before it (Llama 2 writes "[/INST] answer" but prompts with "[/INST]"). Any other token across
// the border cannot be trained as it will be used. False leaves the token in draft.straddling.
bool RowEncoder::settle_straddles(const Row& row, Draft& draft, TokenTargets& targets) const {
  for (const auto& [token, span] : targets.straddles) {
    const auto& trained = draft.spans[span];
    if (trained.weight == 0) continue;
    const auto [begin, end] = draft.encoding.offsets[token];
    const auto before = std::string_view(draft.text).substr(begin, trained.bytes.begin - begin);
    if (!is_blank(before) || begin < generation_begin(row, draft, trained.message)) {
      draft.straddling = draft.text.substr(begin, end - begin);
      return false;
    }
    targets.weights[token] = static_cast<float>(trained.weight);
    targets.last_token[span] = std::max(targets.last_token[span], static_cast<int64_t>(token));
  }
  return true;
}

// The first byte of the text that message `message` generates. A template that writes an answer in the middle of a
// conversation otherwise than it prompts for one has no such byte: then its last space decides, 0 or the text's end.
int64_t RowEncoder::generation_begin(const Row& row, const Draft& draft, size_t message) const {
  auto options = render_options_;
  options.add_generation_prompt = true;
  const auto prompt = template_->render(before_message(row.conversation, message), options);
  if (draft.text.starts_with(prompt)) return static_cast<int64_t>(prompt.size());
  const bool ends_in_space = !prompt.empty() && is_blank(prompt.substr(prompt.size() - 1));
  return ends_in_space ? static_cast<int64_t>(draft.text.size()) : 0;
}

bool RowEncoder::ends_a_turn(int32_t id) const {
  if (tokenizer_.is_special(id) || tokenizer_.eos_id() == id) return true;
  const auto& added = tokenizer_.added_tokens();
  return std::any_of(added.begin(), added.end(), [id](const AddedToken& token) { return token.id == id; });
}

void RowEncoder::check_turn_ends(const Draft& draft, const TokenTargets& targets) const {
  std::map<size_t, int64_t> last_token;  // by message
  for (size_t i = 0; i < draft.spans.size(); ++i) {
    if (draft.spans[i].weight == 0 || targets.last_token[i] < 0) continue;
    auto& last = last_token.try_emplace(draft.spans[i].message, targets.last_token[i]).first->second;
    last = std::max(last, targets.last_token[i]);
  }
  for (const auto& [message, token] : last_token) {
    if (ends_a_turn(draft.encoding.ids[token])) continue;
    bad_record(
        fmt::format("message {}: the end of the assistant's turn is not trained: {} writes no token for it there",
                    message + 1, template_->origin()),
        "a model trained so would not stop; take another template with data.template");
  }
}

}  // namespace prentice

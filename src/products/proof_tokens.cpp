#include "products/proof_tokens.h"

#include <algorithm>
#include <deque>

#include "data/steps.h"
#include "proof/logit_proof.h"
#include "proof/token_corpus.h"
#include "text/chat.h"

namespace prentice {

namespace {

constexpr size_t kMostTexts = 4000;

// Paragraphs as raw text; with a template, also as the answers of an assistant.
std::vector<std::vector<int32_t>> own_sequences(const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> all;
  std::optional<ChatTemplate> chat;
  if (tokenizer.chat_template())
    chat.emplace(*tokenizer.chat_template(), tokenizer.chat_template_file().string(), tokenizer);
  for (const auto& paragraph : proof_prose()) {
    std::optional<std::string> rendered;
    if (chat) {
      Conversation talk;
      talk.messages.push_back(
          Json::Object{{"role", "user"}, {"content", paragraph.substr(0, paragraph.find('.') + 1)}});
      talk.messages.push_back(Json::Object{{"role", "assistant"}, {"content", paragraph}});
      rendered = chat->try_render(talk, {});
    }
    if (rendered) all.push_back(tokenizer.encode(*rendered, false));
    all.push_back(tokenizer.encode(paragraph, true));
  }
  return all;
}

}  // namespace

std::vector<Batch> proof_batches(std::span<const Sequence> rows, const Tokenizer& tokenizer, int64_t context,
                                 int64_t tokens, c10::Device device) {
  std::deque<Sequence> kept;
  int64_t left = tokens;
  const auto take = [&](const std::vector<int32_t>& ids) {
    const auto size = std::min({static_cast<int64_t>(ids.size()), context, left});
    if (size < 2) return;
    kept.push_back({.ids = {ids.begin(), ids.begin() + size}});
    kept.back().labels.assign(static_cast<size_t>(size), static_cast<int32_t>(kNoLabel));
    left -= size;
  };
  for (const auto& row : rows) take(row.ids);
  if (left > 0) {
    for (const auto& ids : own_sequences(tokenizer)) take(ids);
  }
  std::vector<const Sequence*> sequences;
  for (const auto& sequence : kept) sequences.push_back(&sequence);
  std::vector<Batch> batches;
  collate_in_order(sequences, kProofMicroTokens,
                   [&](const Batch& batch) { batches.push_back(to_device(batch, device)); });
  return batches;
}

std::vector<Batch> proof_batches(std::span<const Sequence> rows, const Tokenizer& tokenizer, int64_t context,
                                 c10::Device device) {
  return proof_batches(rows, tokenizer, context, device.is_cuda() ? kProofTokensGpu : kProofTokensCpu, device);
}

std::vector<std::string> texts_of(const DataSet& rows) {
  std::vector<std::string> texts;
  for (const auto& example : rows.examples) {
    if (texts.size() >= kMostTexts) break;
    if (!example.text.empty()) texts.push_back(example.text);
  }
  return texts;
}

}  // namespace prentice

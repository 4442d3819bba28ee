#include "eval/candidates.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/utf8.h"

namespace prentice {

namespace {

std::string place_of(const EvalInput& input, int64_t index) {
  return to_string(input.data.encoded.origins[static_cast<size_t>(index)]);
}

// An example as text with a hole where its answer stands.
struct Frame {
  std::string before, after;
  int64_t border = 0;  // byte where the trained text begins: at or before the hole
  bool add_special = true;
  bool add_eos = false;  // the data's rule put EOS behind the text
};

// As the data's own rows: BOS by the tokenizer, unless the chat template wrote it.
bool adds_special(const EvalInput& input, const std::string& text) {
  const std::string bos = input.tokenizer.bos_token();
  return !input.data.chat || bos.empty() || !text.starts_with(bos);
}

const Sequence* sequence_of(const EvalInput& input, int64_t index) {
  const auto& sequences = input.data.encoded.sequences;
  const auto found = std::ranges::lower_bound(sequences, index, {}, &Sequence::sample);
  return found == sequences.end() || found->sample != index ? nullptr : &*found;
}

Frame frame_of(const EvalInput& input, int64_t index) {
  const Example& example = input.data.examples[static_cast<size_t>(index)];
  const size_t border = example.completion.empty() ? std::string::npos : example.text.rfind(example.completion);
  if (border == std::string::npos) {
    fail(ExitCode::data, place_of(input, index) + ": has no prompt and answer, which the task choice needs",
         "rows of text can be scored by the task loss");
  }
  std::string_view answer = example.reference;
  size_t hole = example.completion.find(answer);
  if (hole == std::string::npos) answer = stripped(answer), hole = example.completion.find(answer);
  if (hole == std::string::npos || answer.empty()) {
    fail(ExitCode::data, place_of(input, index) +
                             ": its answer does not stand as it is in the rendered text, so that no "
                             "other answer can take its place");
  }
  Frame frame{.before = example.text.substr(0, border) + example.completion.substr(0, hole),
              .after = example.completion.substr(hole + answer.size()),
              .border = static_cast<int64_t>(border),
              .add_special = adds_special(input, example.text)};
  const Sequence* sequence = sequence_of(input, index);
  const auto eos = input.tokenizer.eos_id();
  frame.add_eos = !input.data.chat && eos && sequence && !sequence->ids.empty() && sequence->ids.back() == *eos;
  return frame;
}

bool is_added(const Tokenizer& tokenizer, const Encoding& encoding, size_t token) {
  return encoding.offsets[token] == ByteSpan{} && tokenizer.is_special(encoding.ids[token]);
}

// Drops what the post-processor put behind the text (an EOS of its own).
void drop_trailing(const Tokenizer& tokenizer, Encoding& encoding) {
  while (encoding.ids.size() > 1 && is_added(tokenizer, encoding, encoding.ids.size() - 1)) {
    encoding.ids.pop_back(), encoding.offsets.pop_back();
  }
}

// Tokens that end at or before the border.
size_t prompt_tokens(const Tokenizer& tokenizer, const Encoding& encoding, int64_t border) {
  size_t count = 0;
  while (count < encoding.ids.size() && is_added(tokenizer, encoding, count)) ++count;
  while (count < encoding.ids.size() && encoding.offsets[count].end <= border) ++count;
  return count;
}

// What all candidates have in common up to the border is the prompt. A token that reaches over it (a space before the
// answer that belongs to the answer's first token) is part of the answers.
EncodedChoice split(const EvalInput& input, int64_t index, const Frame& frame, std::vector<Encoding> encodings) {
  size_t common = SIZE_MAX;
  for (Encoding& encoding : encodings) {
    drop_trailing(input.tokenizer, encoding);
    common = std::min(common, prompt_tokens(input.tokenizer, encoding, frame.border));
    const auto& first = encodings[0].ids;
    const auto [a, b] = std::mismatch(first.begin(), first.end(), encoding.ids.begin(), encoding.ids.end());
    common = a == first.end() && b == encoding.ids.end() ? common : std::min<size_t>(common, a - first.begin());
  }
  if (common == 0) {
    fail(ExitCode::data, place_of(input, index) + ": the prompt has no tokens",
         "a tokenizer without BOS needs a prompt");
  }
  const auto eos = input.tokenizer.eos_id();
  EncodedChoice choice;
  choice.prompt.assign(encodings[0].ids.begin(), encodings[0].ids.begin() + static_cast<int64_t>(common));
  for (Encoding& encoding : encodings) {
    auto& answer = choice.answers.emplace_back(encoding.ids.begin() + static_cast<int64_t>(common), encoding.ids.end());
    if (frame.add_eos && (answer.empty() || answer.back() != *eos)) answer.push_back(*eos);
    if (answer.empty()) fail(ExitCode::data, place_of(input, index) + ": a choice has no tokens");
  }
  return choice;
}

}  // namespace

std::vector<EncodedChoice> encode_choices(const EvalInput& input, const std::vector<int64_t>& indices,
                                          const std::vector<std::vector<std::string>>& candidates) {
  std::vector<Frame> frames;
  for (const int64_t index : indices) frames.push_back(frame_of(input, index));
  std::vector<std::vector<Encoding>> encodings(indices.size());
  for (const bool add_special : {false, true}) {  // one call of the tokenizer for each
    std::vector<std::string> texts;
    std::vector<size_t> owners;
    for (size_t i = 0; i < indices.size(); ++i) {
      if (frames[i].add_special != add_special) continue;
      for (const auto& candidate : candidates[i]) {
        texts.push_back(frames[i].before + candidate + frames[i].after);
        owners.push_back(i);
      }
    }
    if (texts.empty()) continue;
    auto encoded = input.tokenizer.encode_batch(texts, add_special, /*offsets=*/true, input.threads);
    for (size_t t = 0; t < texts.size(); ++t) encodings[owners[t]].push_back(std::move(encoded[t]));
  }
  std::vector<EncodedChoice> choices;
  for (size_t i = 0; i < indices.size(); ++i) {
    choices.push_back(split(input, indices[i], frames[i], std::move(encodings[i])));
  }
  return choices;
}

std::vector<int32_t> encode_prompt(const EvalInput& input, int64_t index) {
  const Example& example = input.data.examples[static_cast<size_t>(index)];
  if (example.completion.empty()) {
    fail(ExitCode::data, place_of(input, index) + ": has no prompt and answer, which the task exact needs",
         "rows of text can be scored by the task loss");
  }
  Encoding encoding = input.tokenizer.encode_with_offsets(example.prompt, adds_special(input, example.prompt));
  const bool only_added = example.prompt.empty();
  if (!only_added) drop_trailing(input.tokenizer, encoding);
  if (encoding.ids.empty()) {
    fail(ExitCode::data, place_of(input, index) + ": the prompt has no tokens",
         "a tokenizer without BOS needs a prompt");
  }
  return encoding.ids;
}

}  // namespace prentice

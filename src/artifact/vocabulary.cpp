#include "artifact/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

#include "artifact/score_head.h"
#include "core/error.h"

namespace prentice {

std::string vocabulary_difference(const NamedTokenizer& theirs, const NamedTokenizer& ours) {
  const int64_t their_size = theirs.tokenizer.vocab_size(), our_size = ours.tokenizer.vocab_size();
  const auto token = [](const Tokenizer& of, int32_t id) {
    return id < of.vocab_size() ? fmt::format("'{}'", of.id_to_token(id)) : std::string("nothing");
  };
  const std::string sizes =
      their_size == our_size ? "" : fmt::format("{} tokens, not {}; the first that differs: ", their_size, our_size);
  for (int32_t id = 0; id < std::max(their_size, our_size); ++id) {
    const std::string their_token = token(theirs.tokenizer, id), our_token = token(ours.tokenizer, id);
    if (their_token == our_token) continue;
    return fmt::format("{} has another vocabulary than {}: {}id {} is {}, not {}", theirs.address, ours.address, sizes,
                       id, their_token, our_token);
  }
  return "";
}

void require_same_vocabulary(const std::string& key, const NamedTokenizer& theirs, const NamedTokenizer& ours,
                             const std::string& hint) {
  const std::string difference = vocabulary_difference(theirs, ours);
  if (!difference.empty()) fail(ExitCode::model, key + ": " + difference, hint);
}

void require_language_model(const std::string& key, const std::string& address, const ModelSpec& spec) {
  if (spec.labels == 0) return;
  fail(ExitCode::usage, key + ": " + address + " is " + std::string(kScoresAlone),
       "name a language model, for instance the one that the reward model began with; `prentice eval "
       "eval.tasks=[preference]` scores pairs with a reward model");
}

}  // namespace prentice

#include "model/generate.h"

#include <algorithm>

#include "core/error.h"
#include "core/random.h"
#include "model/sample.h"

namespace prentice {

namespace {

constexpr uint64_t kSampleStream = 0x67656e6572617465;  // "generate"

}  // namespace

std::vector<int32_t> generate(const Model& model, std::span<const int32_t> prompt, const SampleOptions& options,
                              const std::function<bool(int32_t)>& on_token) {
  if (prompt.empty()) fail(ExitCode::usage, "the prompt has no tokens", "a tokenizer without BOS needs some text");
  KvCache cache(model);
  std::vector<int32_t> made;
  Tensor hidden = forward_cached(model, prompt, cache);
  while (static_cast<int64_t>(made.size()) < options.max_new_tokens) {
    const Tensor scores = logits(model, hidden.narrow(0, hidden.size(0) - 1, 1)).squeeze(0);
    const double draw = uniform_from(random_bits(options.seed, kSampleStream, made.size()));
    made.push_back(choose_token(scores, options, draw));
    const bool stop =
        std::find(options.stop_ids.begin(), options.stop_ids.end(), made.back()) != options.stop_ids.end();
    if ((on_token && !on_token(made.back())) || stop) break;
    hidden = forward_cached(model, {&made.back(), 1}, cache);
  }
  return made;
}

}  // namespace prentice

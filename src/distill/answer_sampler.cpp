#include "distill/answer_sampler.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "core/utf8.h"
#include "io/json.h"
#include "io/lines.h"
#include "io/publish.h"
#include "io/sha256.h"
#include "model/sample.h"
#include "run/append_file.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kAnswerStream = 0x616e73776572;  // "answer"

Json to_json(const SampledAnswer& answer) {
  return Json::Object{
      {"text", answer.text}, {"tokens", answer.tokens}, {"log_prob", answer.log_prob}, {"ended", answer.ended}};
}

SampledAnswer answer_from(const Json& json) {
  return {json.at("text").as_string(), json.at("tokens").as_integer(), json.at("log_prob").as_number(),
          json.at("ended").as_bool()};
}

}  // namespace

std::vector<SampledAnswer> AnswerSampler::answers(const Prompt& prompt, size_t index) const {
  const c10::NoGradGuard no_grad;
  const auto vocabulary = tokenizer.vocab_size();
  const SampleOptions options{.temperature = section.temperature, .top_p = section.top_p};
  const auto scores_of = [&](const Tensor& hidden) {
    return logits(model, hidden.narrow(0, hidden.size(0) - 1, 1)).squeeze(0).narrow(0, 0, vocabulary);
  };
  KvCache cache(model);
  const Tensor first = scores_of(forward_cached(model, prompt.ids, cache));
  const uint64_t prompt_seed = random_bits(seed, kAnswerStream, index);
  std::vector<SampledAnswer> found;
  for (int64_t n = 0; n < section.n; ++n) {
    SampledAnswer answer;
    std::vector<int32_t> ids;
    cache.truncate(static_cast<int64_t>(prompt.ids.size()));
    for (Tensor scores = first;;) {
      throw_if_stopped(kContinues);
      const uint64_t bits = random_bits(prompt_seed, static_cast<uint64_t>(n), ids.size());
      const int32_t id = choose_token(scores, options, uniform_from(bits));
      answer.log_prob += at::log_softmax(scores, 0, at::kDouble)[id].item<double>();
      answer.ended = std::ranges::find(stop_ids, id) != stop_ids.end();
      if (answer.ended) break;
      ids.push_back(id);
      if (static_cast<int64_t>(ids.size()) == section.max_new_tokens) break;
      scores = scores_of(forward_cached(model, {&ids.back(), 1}, cache));
    }
    answer.tokens = static_cast<int64_t>(ids.size());
    answer.text = tokenizer.decode(ids, /*skip_special=*/true);
    if (prompt.chat) answer.text = std::string(stripped(answer.text));
    found.push_back(std::move(answer));
  }
  return found;
}

SampledFile::SampledFile(fs::path path, const std::string& binding) : path_(std::move(path)) {
  if (!fs::exists(path_)) publish_file(path_, Json(Json::Object{{"sampled_from", binding}}).dump() + "\n");
  cut_lines(path_, [&](std::string_view) { return true; });  // a line that a kill tore
  bool first = true;
  read_json_lines(path_, ExitCode::model, [&](const Json& line) {
    if (std::exchange(first, false)) {
      if (line.at("sampled_from").as_string() != binding)
        fail(ExitCode::malformed, "these answers are of another teacher, data, tokenizer or template",
             "remove the file, and they are sampled again; or choose another run.out");
      return;
    }
    auto& answers = answers_.emplace_back();
    for (const Json& answer : line.as_array()) answers.push_back(answer_from(answer));
  });
}

void SampledFile::append(const std::vector<SampledAnswer>& answers) {
  Json::Array line;
  for (const auto& answer : answers) line.push_back(to_json(answer));
  AppendFile file(path_);
  file.append(Json(std::move(line)).dump() + "\n");
  file.sync();
  answers_.push_back(answers);
}

std::string sampling_binding(const std::vector<Prompt>& prompts, const SampleSection& section,
                             const std::string& teacher_sha256, uint64_t seed) {
  Sha256 hash;
  hash.update(fmt::format("{} {} {} {} {} {}\n", teacher_sha256, seed, section.n, section.temperature, section.top_p,
                          section.max_new_tokens));
  for (const auto& prompt : prompts) hash.update_sized(prompt.ids);
  return hash.hex();
}

}  // namespace prentice

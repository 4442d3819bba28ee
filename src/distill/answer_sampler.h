// A teacher's own answers to prompts, sampled once and kept as they came: the file grows by a prompt at a time, so that
// a run which is stopped goes on.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "data/prompts.h"
#include "distill/answer_filters.h"
#include "model/model.h"

namespace prentice {

struct AnswerSampler {
  const Model& model;
  const Tokenizer& tokenizer;
  const SampleSection& section;
  std::vector<int32_t> stop_ids;
  uint64_t seed = 17;

  // n answers to the prompt with this index, each a function of (seed, index, n). Tokens behind the tokenizer's
  // vocabulary are never chosen.
  std::vector<SampledAnswer> answers(const Prompt& prompt, size_t index) const;
};

// The answers that were kept, one line a prompt, under a first line that says what they were sampled from.
class SampledFile {
 public:
  // Goes on with what is there. Errors: `model` when the file was sampled from something else (`binding` differs).
  SampledFile(std::filesystem::path path, const std::string& binding);

  const std::vector<std::vector<SampledAnswer>>& answers() const { return answers_; }  // by prompt
  void append(const std::vector<SampledAnswer>& answers);                              // durable when it returns

 private:
  std::filesystem::path path_;
  std::vector<std::vector<SampledAnswer>> answers_;
};

// Hash of the prompts' ids, the teacher and all that sampling depends on.
std::string sampling_binding(const std::vector<Prompt>&, const SampleSection&, const std::string& teacher_sha256,
                             uint64_t seed);

}  // namespace prentice

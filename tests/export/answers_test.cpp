// Driven by tests/oracle/test_gguf_model.py: what we make of models in any form. request.json is a list of {"model",
// "adapter" (or null), "texts", "sequences"}; answers.json gets of each the ids of the texts, with special tokens
// recognised, and the log-probabilities after the sequences.
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "adapter/peft.h"
#include "io/json.h"
#include "model/generate.h"
#include "text/tokenizer.h"

namespace prentice {
namespace {

std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const auto& id : list.as_array()) ids.push_back(static_cast<int32_t>(id.as_integer()));
  return ids;
}

template <class T>
Json list_of(std::span<const T> values) {
  Json::Array list;
  for (const T value : values) list.emplace_back(std::conditional_t<std::is_integral_v<T>, int64_t, double>(value));
  return list;
}

Json answer(const Json& request) {
  const std::filesystem::path path = request.at("model").as_string();
  Model model = load_model(path, {.dtype = at::kFloat, .device = at::kCPU});
  if (!request.at("adapter").is_null()) load_peft(model, request.at("adapter").as_string());
  const Tokenizer tokenizer = Tokenizer::load(path);
  Json::Array texts, log_probs;
  for (const auto& text : request.at("texts").as_array()) {
    texts.push_back(list_of<int32_t>(tokenizer.encode(text.as_string(), false)));
  }
  for (const auto& sequence : request.at("sequences").as_array()) {
    const auto ids = ids_of(sequence);
    KvCache cache(model);
    const Tensor hidden = forward_cached(model, ids, cache);
    const Tensor found = at::log_softmax(logits(model, hidden.narrow(0, hidden.size(0) - 1, 1)).to(at::kDouble), 1);
    log_probs.push_back(list_of<double>({found.const_data_ptr<double>(), static_cast<size_t>(found.numel())}));
  }
  return Json::Object{{"texts", std::move(texts)},
                      {"log_probs", std::move(log_probs)},
                      {"bos", int64_t{tokenizer.bos_id().value_or(-1)}},
                      {"eos", int64_t{tokenizer.eos_id().value_or(-1)}}};
}

TEST(Oracle, WritesAnswers) {
  const char* folder = std::getenv("PRENTICE_ORACLE_DIR");
  if (folder == nullptr) GTEST_SKIP() << "driven by tests/oracle/test_gguf_model.py";
  const c10::NoGradGuard no_grad;
  const auto requests = Json::parse_file(std::filesystem::path(folder) / "request.json");
  Json::Array answers;
  for (const auto& request : requests.as_array()) answers.push_back(answer(request));
  std::ofstream(std::filesystem::path(folder) / "answers.json") << Json(std::move(answers)).dump();
}

}  // namespace
}  // namespace prentice

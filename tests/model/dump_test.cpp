// For tests/oracle: reads a model and tokens from a folder, writes our logits and gradients beside them.
#include <fmt/format.h>

#include <cstring>
#include <fstream>

#include "io/json.h"
#include "model/generate.h"
#include "model/golden.h"
#include "model/model.h"

namespace prentice {
namespace {

// Environment: PRENTICE_ORACLE_DIR holds config.json, model.safetensors and tokens.json, a list of token lists (one a
// sequence); PRENTICE_ORACLE_TYPE is f32 (default), f64 or bf16 (which writes f32). Writes ours.safetensors: `logits`
// [T, V] of the flat batch and `grad.NAME` of the mean cross-entropy of every next token inside its sequence.
TEST(Oracle, WritesLogitsAndGradients) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  const char* type_name = std::getenv("PRENTICE_ORACLE_TYPE");
  const bool f64 = type_name && std::strcmp(type_name, "f64") == 0;
  const bool bf16 = type_name && std::strcmp(type_name, "bf16") == 0;
  const std::filesystem::path folder = directory;
  std::vector<std::vector<int64_t>> sequences;
  const Json document = Json::parse_file(folder / "tokens.json");
  for (const Json& list : document.as_array()) {
    auto& ids = sequences.emplace_back();
    for (const Json& id : list.as_array()) ids.push_back(id.as_integer());
  }
  const Batch batch = flat_batch(sequences);
  const auto dtype = f64 ? at::kDouble : bf16 ? at::kBFloat16 : at::kFloat;
  Model model = load_model(folder, {.dtype = dtype, .device = at::kCPU});
  require_gradients(model);
  const Tensor scores = logits(model, forward_hidden(model, batch, {}));
  mean_cross_entropy(scores, batch).backward();

  std::map<std::string, Tensor> results = {{"logits", scores.detach()}};
  for (const auto& [name, gradient] : gradients(model)) results["grad." + name] = gradient.contiguous();
  std::vector<TensorInfo> infos;
  for (auto& [name, tensor] : results) {
    tensor = tensor.to(f64 ? at::kDouble : at::kFloat);
    infos.push_back({name, f64 ? DType::f64 : DType::f32, tensor.sizes().vec()});
  }
  std::filesystem::remove(folder / "ours.safetensors");
  SafetensorsWriter writer(folder / "ours.safetensors", infos);
  for (const auto& [name, tensor] : results) {
    writer.write(name, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  writer.finish();
}

// The folder holds shapes.json, {name: config.json's content}. Writes tensors.json, for each name the tensors that our
// spec fixes: {name: {tensor: shape}}.
TEST(Oracle, WritesTheTensorsOfShapes) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  const std::filesystem::path folder = directory;
  Json::Object models;
  const Json document = Json::parse_file(folder / "shapes.json");
  for (const auto& [name, config] : document.as_object()) {
    Json::Object tensors;
    for (const auto& tensor : expected_tensors(read_spec(config))) {
      Json::Array shape;
      for (const int64_t size : tensor.shape) shape.emplace_back(size);
      tensors.emplace_back(tensor.name, std::move(shape));
    }
    models.emplace_back(name, std::move(tensors));
  }
  std::ofstream(folder / "tensors.json") << Json(std::move(models)).dump();
}

// The folder holds prompts.json, {"prompts": token lists, "tokens": how many to make}. Writes texts.json, the new
// tokens of each.
TEST(Oracle, WritesGreedyTexts) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  const std::filesystem::path folder = directory;
  const Json document = Json::parse_file(folder / "prompts.json");
  const Model model = load_model(folder, {.dtype = at::kFloat, .device = at::kCPU});
  Json::Array texts;
  for (const Json& list : document.at("prompts").as_array()) {
    std::vector<int32_t> prompt;
    for (const Json& id : list.as_array()) prompt.push_back(static_cast<int32_t>(id.as_integer()));
    Json::Array text;
    for (const int32_t id : generate(model, prompt, {.max_new_tokens = document.at("tokens").as_integer()})) {
      text.emplace_back(static_cast<int64_t>(id));
    }
    texts.emplace_back(std::move(text));
  }
  std::ofstream(folder / "texts.json") << Json(std::move(texts)).dump();
}

}  // namespace
}  // namespace prentice

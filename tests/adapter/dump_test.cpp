// For tests/oracle: attaches or reads an adapter as a folder asks, writes our PEFT folder and our logits beside it.
#include <fstream>

#include "adapter/peft.h"
#include "adapter/tiny.h"

namespace prentice {
namespace {

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> words;
  for (const Json& word : list.as_array()) words.push_back(word.as_string());
  return words;
}

AdapterSection read_section(const Json& json) {
  AdapterSection section = lora_section(strings(json.at("targets")), json.at("rank").as_integer());
  section.alpha = json.at("alpha").as_number();
  section.rslora = json.at("rslora").as_bool();
  for (const Json& layer : json.at("layers").as_array()) section.layers.push_back(layer.as_integer());
  for (const auto& [key, value] : json.at("rank_pattern").as_object()) section.rank_pattern[key] = value.as_integer();
  for (const auto& [key, value] : json.at("alpha_pattern").as_object()) section.alpha_pattern[key] = value.as_number();
  return section;
}

// Environment: PRENTICE_ORACLE_DIR holds base/ (a model folder), tokens.json (a list of token lists) and either theirs/
// (a PEFT folder to read) or section.json (an adapter section to attach, B made random) with `dtype`. Writes
// ours.safetensors with `logits` [T, V]; with section.json also the PEFT folder ours/.
TEST(Oracle, WritesAdapterAndLogits) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  const std::filesystem::path folder = directory;
  std::vector<std::vector<int64_t>> sequences;
  const Json tokens = Json::parse_file(folder / "tokens.json");
  for (const Json& list : tokens.as_array()) {
    auto& ids = sequences.emplace_back();
    for (const Json& id : list.as_array()) ids.push_back(id.as_integer());
  }
  Model model = load_model(folder / "base", {.dtype = at::kFloat, .device = at::kCPU});
  if (std::filesystem::exists(folder / "theirs")) {
    load_peft(model, folder / "theirs");
  } else {
    const Json json = Json::parse_file(folder / "section.json");
    attach_lora(model, read_section(json), 3);
    disturb(model);
    std::filesystem::create_directory(folder / "ours");
    save_peft(model, folder / "ours", (folder / "base").string(), json.at("dtype").as_string());
  }
  const c10::NoGradGuard no_grad;
  const Tensor scores = logits(model, forward_hidden(model, flat_batch(sequences), {})).contiguous();
  SafetensorsWriter writer(folder / "ours.safetensors", {{"logits", DType::f32, scores.sizes().vec()}});
  writer.write("logits", {static_cast<const std::byte*>(scores.const_data_ptr()), scores.nbytes()});
  writer.finish();
}

}  // namespace
}  // namespace prentice

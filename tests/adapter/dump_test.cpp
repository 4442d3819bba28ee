// For tests/oracle: attaches or reads an adapter as a folder asks, writes our PEFT folder and our logits beside it.
#include <fstream>

#include "adapter/merge.h"
#include "adapter/peft.h"
#include "adapter/tiny.h"
#include "adapter/trainable.h"

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
  section.modules_to_save = strings(json.at("modules_to_save"));
  section.init = json.at("init").as_string();
  if (json.at("dora").as_bool()) section.kind = AdapterKind::dora;
  return section;
}

// Environment: PRENTICE_ORACLE_DIR holds base/ (a model folder), tokens.json (a list of token lists) and either theirs/
// (a PEFT folder to read) or section.json (an adapter section to attach and disturb) with `dtype`. Writes
// ours.safetensors with `logits` [T, V], `merged` (the same after merging) and `grad.NAME` of every tensor that trains,
// for the mean loss over all labels; with section.json also the PEFT folder ours/.
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
  Model model = load_model(folder / "base", {.dtype = at::kDouble, .device = at::kCPU});
  if (std::filesystem::exists(folder / "theirs")) {
    load_peft(model, folder / "theirs");
  } else {
    const Json json = Json::parse_file(folder / "section.json");
    attach_lora(model, read_section(json), 3);
    disturb(model);
    std::filesystem::create_directory(folder / "ours");
    save_peft(model, folder / "ours", (folder / "base").string(), json.at("dtype").as_string());
  }
  const Batch batch = flat_batch(sequences);
  std::map<std::string, Tensor> results;
  const auto trained = trainable(model, AdapterSection{});
  const Tensor scores = logits(model, forward_hidden(model, batch, {}));
  results["logits"] = scores.detach();
  mean_cross_entropy(scores, batch).backward();
  for (const auto& [name, tensor] : trained) results["grad." + name] = tensor.grad();
  const c10::NoGradGuard no_grad;
  merge(model);
  results["merged"] = logits(model, forward_hidden(model, batch, {}));
  std::vector<TensorInfo> infos;
  for (auto& [name, tensor] : results) {
    tensor = tensor.contiguous();
    infos.push_back({name, DType::f64, tensor.sizes().vec()});
  }
  SafetensorsWriter writer(folder / "ours.safetensors", infos);
  for (const auto& [name, tensor] : results) {
    writer.write(name, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  writer.finish();
}

}  // namespace
}  // namespace prentice

#include "artifact/artifact.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "adapter/peft.h"
#include "config/address.h"
#include "config/configs.h"
#include "config/read.h"
#include "core/error.h"
#include "hub/cache.h"
#include "io/gguf.h"
#include "model/spec.h"
#include "run/run_base.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

fs::path absolute_path(const fs::path& path) { return fs::weakly_canonical(fs::absolute(path)); }

// A Hugging Face folder or a GGUF file, which holds its tokenizer, too.
Artifact of_model(const std::string& address, const fs::path& model) {
  const fs::path path = absolute_path(model);
  return {.address = address, .base = path, .base_name = path.string(), .tokenizer = path};
}

// The run whose product a run folder stands for: itself, or the last training step of a pipeline.
fs::path training_run(const fs::path& folder) {
  const Node recipe = read_recipe_file((folder / "recipe.yaml").string());
  if (recipe_kind(recipe) != "pipeline") return folder;
  fs::path last;
  for (const auto& step : expand_steps(recipe)) {
    fs::path out = folder / step.out.filename();  // wherever the whole has been moved to
    if (!fs::exists(out)) out = step.out;
    if (trains(step.kind) && fs::exists(out / "recipe.yaml")) last = out;
  }
  if (last.empty()) fail(ExitCode::model, folder.string() + ": no step of this pipeline has trained a model yet");
  return last;
}

std::string checkpoint_name(const fs::path& run, const std::string& which) {
  if (which != "best") return fmt::format("step-{:08}", std::atoll(which.c_str()));
  const Json facts = with_context(ExitCode::model, "", [&] { return Json::parse_file(run / "run.json"); });
  const Json* results = facts.find("results");
  const Json* best = results ? results->find("best_step") : nullptr;
  if (!best)
    fail(ExitCode::usage, run.string() + "@best: this run has no best step with a checkpoint",
         "train.select keeps the best one; RUN@STEP names any other");
  return fmt::format("step-{:08}", best->as_integer());
}

// What a run with adapter.qat trained is its adapter on the base behind the rounding of the file that it is served in.
void take_served(const Node& recipe, Artifact& artifact) {
  const Node* qat = recipe.at("adapter").find("qat");
  if (qat == nullptr || qat->as_string() == "none") return;
  artifact.served_type = qat->as_string();
  const Node* types = recipe.at("export").find("types");
  if (types == nullptr || !types->is_map()) return;
  for (const auto& member : types->members()) artifact.served_types[member.key] = member.value.as_string();
}

// A run's recipe.yaml is resolved: it names the base and what was trained; the product lies beside it.
Artifact of_run(const std::string& address, const fs::path& folder, const std::string& which) {
  const fs::path run = training_run(folder);
  const Node recipe = read_recipe_file((run / "recipe.yaml").string());
  const std::string kind = recipe_kind(recipe);
  if (!trains(kind)) {
    const Node* of = recipe.find("model");
    fail(ExitCode::model, address + ": this run (" + kind + ") did not train a model",
         of ? "the model that it was run on: " + of->at("path").as_string() : "");
  }
  const Node* adapter = recipe.find("adapter");
  const bool is_full = kind == "pretrain" || (adapter && adapter->at("kind").as_string() == "full");
  const fs::path product =
      which.empty() ? run / (is_full ? "merged" : "adapter") : run / "checkpoints" / checkpoint_name(run, which);
  if (!fs::exists(product)) {
    fail(which.empty() ? ExitCode::model : ExitCode::usage,
         fmt::format("{}: {} is not there", address, product.string()),
         which.empty() ? "the run has not finished; a checkpoint is addressed as RUN@STEP" : "");
  }
  const Node& model = recipe.at("model");
  const std::string& tokenizer = model.at("tokenizer").as_string();
  Artifact artifact = is_full ? of_model(address, product) : resolve_artifact(model.at("path").as_string());
  artifact.address = address;
  if (!is_full) artifact.adapter = absolute_path(product);
  if (!is_full && artifact.has_weights()) require_same_base(run, artifact.base, product);
  if (!is_full) take_served(recipe, artifact);
  if (has_tokenizer(product)) {
    artifact.tokenizer = absolute_path(product);
  } else if (!tokenizer.empty()) {
    artifact.tokenizer = tokenizer;
  }
  if (fs::exists(run / kRunTemplate)) artifact.chat_template = absolute_path(run / kRunTemplate);
  return artifact;
}

Artifact of_adapter_folder(const std::string& address, const fs::path& folder) {
  const std::string base = read_peft_config(folder).base_model;
  const fs::path cached = cached_snapshot(base);
  const fs::path base_folder = cached.empty() ? fs::path(base) : cached;
  if (base.empty() || (!fs::exists(base_folder / "config.json") && !is_gguf_file(base_folder))) {
    fail(ExitCode::usage, fmt::format("{}: an adapter alone; its base '{}' is not here", address, base),
         is_hub_name(base) ? missing_model_hint(base) : "name both: BASE+" + address);
  }
  Artifact artifact = of_model(address, base_folder);
  artifact.base_name = base;
  artifact.adapter = absolute_path(folder);
  return artifact;
}

// A model of the cache, or an adapter there with the base that it names.
Artifact of_snapshot(const std::string& address, const std::string& name, const fs::path& snapshot) {
  if (!fs::exists(snapshot / "config.json")) return of_adapter_folder(address, snapshot);
  Artifact artifact = of_model(address, snapshot);
  artifact.base_name = name;
  return artifact;
}

Artifact of_existing_path(const std::string& address, const fs::path& path) {
  if (!fs::is_directory(path)) {
    if (is_gguf_file(path)) return of_model(address, path);
    fail(ExitCode::model, address + ": expected a model folder or a GGUF file, got another file");
  }
  if (fs::exists(path / "run.json")) return of_run(address, path, "");
  if (fs::exists(path / "config.json")) return of_model(address, path);
  if (fs::exists(path / "adapter_config.json")) return of_adapter_folder(address, path);
  fail(ExitCode::model, address + ": no config.json, adapter_config.json or run.json in this folder",
       "a model is a Hugging Face folder, a GGUF file, an adapter folder or a run folder");
}

Artifact of_parts(const std::string& address, const Address& parts, std::string_view key);

// BASE+ADAPTER: the base alone, then the adapter's folder on it.
Artifact with_adapter(const std::string& address, const Address& parts, std::string_view key) {
  Artifact artifact = of_parts(address, {.path = parts.path, .checkpoint = parts.checkpoint}, key);
  if (!artifact.adapter.empty()) {
    fail(ExitCode::usage, fmt::format("{}: the base already has an adapter ({})", address, artifact.adapter.string()),
         "export it merged first, then name the merged folder");
  }
  const Address adapter = parse_address(fs::current_path(), parts.adapter);
  if (!fs::exists(adapter.path)) {
    const bool is_name = is_hub_name(parts.adapter);
    artifact.adapter = is_name ? cached_snapshot(parts.adapter) : fs::path();
    if (!artifact.adapter.empty()) return artifact;
    fail(ExitCode::usage, parts.adapter + ": no such adapter folder",
         is_name ? missing_model_hint(parts.adapter) : "a PEFT folder, a run, or ORG/NAME in the cache");
  }
  const bool is_run = fs::exists(fs::path(adapter.path) / "run.json");
  artifact.adapter = is_run ? of_parts(parts.adapter, adapter, key).adapter : absolute_path(adapter.path);
  return artifact;
}

// What four bits the run of an adapter held its base in; "" of a run without, and of an adapter that lies in no run.
std::string quantize_of_run(const fs::path& adapter) {
  constexpr int kLevels = 3;  // RUN/adapter, RUN/checkpoints/step-00000002/adapter
  fs::path run = adapter;
  for (int level = 0; level < kLevels; ++level) {
    run = run.parent_path();
    if (!fs::exists(run / "run.json") || !fs::exists(run / "recipe.yaml")) continue;
    const Node recipe = read_recipe_file((run / "recipe.yaml").string());
    const Node* model = recipe.find("model");
    const Node* quantize = model == nullptr ? nullptr : model->find("quantize");
    return quantize == nullptr || quantize->as_string() == "none" ? "" : quantize->as_string();
  }
  return "";
}

// An adapter that came with a tokenizer was trained with it.
Artifact with_own_parts(Artifact artifact) {
  if (artifact.adapter.empty()) return artifact;
  if (has_tokenizer(artifact.adapter)) artifact.tokenizer = artifact.adapter;
  artifact.trained_in = quantize_of_run(artifact.adapter);
  return artifact;
}

[[noreturn]] void fail_unknown(const std::string& address, std::string_view key) {
  if (is_hub_name(address)) {
    fail(ExitCode::usage, fmt::format("{}: '{}' is no folder, and not in the Hugging Face cache", key, address),
         missing_model_hint(address));
  }
  std::vector<std::string> shapes;
  for (const auto& path : list_configs("models/")) shapes.push_back(fs::path(path).stem().string());
  const std::string near = closest_match(address, shapes);
  fail(ExitCode::usage,
       fmt::format("{}: '{}' is no folder, run, cached model or name under configs/models", key, address),
       near.empty() ? "" : fmt::format("did you mean the shape '{}'?", near));
}

Artifact of_parts(const std::string& address, const Address& parts, std::string_view key) {
  const std::string& path = parts.path;
  if (!parts.adapter.empty()) return with_adapter(address, parts, key);
  if (!parts.checkpoint.empty()) {
    if (!fs::exists(fs::path(path) / "run.json")) fail_unknown(address, key);
    return of_run(address, path, parts.checkpoint);
  }
  if (fs::exists(path)) return of_existing_path(address, path);
  if (const fs::path snapshot = cached_snapshot(path); !snapshot.empty()) return of_snapshot(address, path, snapshot);
  if (read_config("models/" + path + ".json")) return {.address = address, .shape = "models/" + path + ".json"};
  fail_unknown(address, key);
}

[[noreturn]] void fail_missing(std::string_view key) {
  fail(ExitCode::usage, fmt::format("{}: a model is needed", key), fmt::format("{}=FOLDER", key));
}

}  // namespace

bool has_tokenizer(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tokenizer.model") ||
         fs::exists(folder / "vocab.json");
}

Artifact resolve_artifact(const std::string& address, std::string_view key) {
  if (address.empty()) fail_missing(key);
  return with_own_parts(of_parts(address, parse_address(fs::current_path(), address), key));
}

Artifact resolve_model(const ModelSection& section, std::string_view key) {
  if (section.path.empty()) fail_missing(key);
  Address parts = parse_address(fs::current_path(), section.path);
  if (!section.adapter.empty()) parts.adapter = section.adapter;
  const std::string address = section.adapter.empty() ? section.path : section.path + "+" + section.adapter;
  Artifact artifact = with_own_parts(of_parts(address, parts, key));
  if (!section.tokenizer.empty()) {
    if (!fs::exists(section.tokenizer)) fail(ExitCode::usage, "model.tokenizer: no such folder: " + section.tokenizer);
    artifact.tokenizer = absolute_path(section.tokenizer);
    artifact.chat_template.clear();
  }
  return artifact;
}

Json artifact_config(const Artifact& artifact) {
  if (artifact.has_weights()) {
    if (is_gguf_file(artifact.base)) return read_spec(artifact.base).config;
    return with_context(ExitCode::model, "", [&] { return Json::parse_file(artifact.base / "config.json"); });
  }
  return Json::parse(*read_config(artifact.shape));
}

}  // namespace prentice

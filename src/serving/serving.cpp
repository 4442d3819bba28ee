#include "serving/serving.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/configs.h"
#include "io/json.h"
#include "io/sha256.h"
#include "serving/serving_scores.h"
#include "serving/serving_warnings.h"

namespace prentice {

namespace {

constexpr int64_t kVllmDefaultRank = 16;

std::string code(const std::string& command) { return "```\n" + command + "\n```\n\n"; }

std::string vllm_section(const ServingInfo& info) {
  std::string text;
  const auto length = info.max_length > 0 ? fmt::format(" --max-model-len {}", info.max_length) : "";
  if (info.merged) {
    text += "Merged model:\n\n" +
            code(fmt::format("vllm serve merged --served-model-name {}{}", shell_word_of_line(info.name), length));
  }
  if (info.peft && !info.base_model.empty() && info.base_gguf.empty()) {
    // vLLM refuses an adapter above its default without the flag.
    const auto rank = info.rank > kVllmDefaultRank ? fmt::format(" --max-lora-rank {}", info.rank) : "";
    text += "Base model with the adapter on top (the base is shared with other adapters):\n\n" +
            code(fmt::format("vllm serve {} --enable-lora --lora-modules {}{}{}", shell_word_of_line(info.base_model),
                             shell_word_of_line(info.name + "=adapter"), rank, length));
  }
  return text.empty() ? "" : "## vLLM\n\n" + text;
}

std::string llama_cpp_section(const ServingInfo& info) {
  if (info.gguf_files.empty() && !info.gguf_adapter) return "";
  std::string text = "## llama.cpp\n\n";
  const auto length = info.gguf_length > 0 ? fmt::format(" --ctx-size {}", info.gguf_length) : "";
  const auto jinja = info.has_chat_template && !info.trained_on_raw_text ? " --jinja" : "";
  if (info.gguf_adapter && !info.base_gguf.empty()) {
    text += "The file that was trained on with the adapter on top: what is served is what was trained.\n\n" +
            code(fmt::format("llama-server -m {} --lora gguf/adapter.gguf{}{}", shell_word_of_line(info.base_gguf),
                             length, jinja));
  } else if (info.gguf_adapter) {
    text +=
        "Base model with the adapter on top. `BASE.gguf` is the base model as GGUF, of any type; `prentice export "
        "export.gguf=[F16]` with the base as `model.path` makes one:\n\n" +
        code(fmt::format("llama-server -m BASE.gguf --lora gguf/adapter.gguf{}{}", length, jinja));
  }
  for (const auto& file : info.gguf_files) {
    text += code(fmt::format("llama-server -m {}{}{}", shell_word_of_line("gguf/" + file), length, jinja));
  }
  return text;
}

std::string ollama_section(const ServingInfo& info) {
  if (modelfile(info).empty()) return "";
  std::string text = "## Ollama\n\n" + code(fmt::format("ollama create {0} -f serve/Modelfile\nollama run {0}",
                                                        shell_word_of_line(info.name)));
  if (info.has_chat_template && !info.trained_on_raw_text) {
    text +=
        "Ollama's templates are not Jinja. It recognises the chat templates of well-known models in the GGUF file; "
        "compare `ollama show " +
        shell_word_of_line(info.name) + " --template` with `tokenizer.chat_template` before use.\n\n";
  }
  return text;
}

std::string self_test_section(const ServingInfo& info) {
  std::string text = "And, once a server runs, whether it answers as the trained model does, with Python alone:\n\n";
  const auto ask = [&](const std::string& port, const std::string& product, const std::string& model = "") {
    text +=
        code(fmt::format("python3 serve/selftest.py http://127.0.0.1:{}{} --product {}", port,
                         model.empty() ? "" : " --model " + shell_word_of_line(model), shell_word_of_line(product)));
  };
  // The servers' own default ports.
  if (info.merged) ask("8000", "merged", info.name);
  if (info.peft && !info.base_model.empty() && info.base_gguf.empty()) ask("8000", "adapter", info.name);
  if (info.gguf_adapter) ask("8080", "gguf/adapter.gguf");
  for (const auto& file : info.gguf_files) ask("8080", "gguf/" + file);
  return text +
         "It compares the token ids of prompts and of a conversation in the chat template, the ids that greedy "
         "decoding "
         "appends, and the log-probabilities of the five likeliest next ids with `serve/selftest.json`. Ids must be "
         "equal; log-probabilities agree within the product's `tolerances` there, each with what it is derived from; "
         "and greedy decoding may go another way where the trained model's best two are closer than twice that.\n";
}

}  // namespace

std::string serve_markdown(const ServingInfo& info) {
  if (info.scores) return scores_markdown(info);
  std::string text = "# Serving " + markdown_text(info.name) +
                     "\n\nRun these from the folder that holds `serve/`.\n\n" + warning_quotes(info);
  if (info.trained_on_raw_text) {
    text +=
        "> Trained on raw prompts and completions: use the completion endpoint (`/v1/completions`), not the chat "
        "one.\n\n";
  }
  text += tokenizer_quote(
      info,
      "`tokenizer.json`, the tokenizers library and llama.cpp do. The model was trained with the ids of "
      "`tokenizer.json`, and `PreTrainedTokenizerFast(tokenizer_file=...)` gives them; compare a server's ids with "
      "`serve/selftest.json`.");
  text += vllm_section(info) + llama_cpp_section(info) + ollama_section(info);
  text += "## Check what was received\n\n" + code("sha256sum -c SHA256SUMS");
  return info.self_test ? text + self_test_section(info) : text;
}

std::string modelfile(const ServingInfo& info) {
  const bool on_base = info.gguf_files.empty() && info.gguf_adapter && !info.base_gguf.empty();
  if (info.gguf_files.empty() && !on_base) return "";
  // One line whatever the name holds: a line break could smuggle in an instruction.
  std::string path = on_base ? info.base_gguf : "../gguf/" + info.gguf_files.front();
  std::erase_if(path, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  std::string text = "# ollama create NAME -f serve/Modelfile\nFROM " + path + "\n";
  if (on_base) text += "ADAPTER ../gguf/adapter.gguf\n";
  if (info.gguf_length > 0) text += fmt::format("PARAMETER num_ctx {}\n", info.gguf_length);
  if (info.trained_on_raw_text) text += "TEMPLATE \"{{ .Prompt }}\"\n";  // the one template that is the same everywhere
  return text;
}

std::string selftest_json(const std::string& name, const SelfTest& test, const std::vector<Tolerance>& tolerances) {
  const auto numbers = [](const auto& list) { return Json::Array(list.begin(), list.end()); };
  Json::Array products, cases, chats;
  for (const auto& [product, log_prob, basis] : tolerances)
    products.push_back(Json::Object{{"product", product}, {"log_prob", log_prob}, {"basis", basis}});
  for (const auto& one : test.cases) {
    Json::Array top;
    for (const auto& [id, log_prob] : one.top_log_probs)
      top.push_back(Json::Object{{"id", id}, {"log_prob", log_prob}});
    cases.push_back(Json::Object{{"prompt", one.prompt ? Json(*one.prompt) : Json()},
                                 {"add_special", one.add_special},
                                 {"prompt_ids", numbers(one.prompt_ids)},
                                 {"greedy_ids", numbers(one.greedy_ids)},
                                 {"greedy_margins", numbers(one.greedy_margins)},
                                 {"top_log_probs", std::move(top)}});
  }
  for (const auto& [messages, ids] : test.chats)
    chats.push_back(Json::Object{{"messages", messages}, {"ids", numbers(ids)}});
  return Json(Json::Object{{"schema", 1},
                           {"model", name},
                           {"tolerances", std::move(products)},
                           {"stop_ids", numbers(test.stop_ids)},
                           {"cases", std::move(cases)},
                           {"chats", std::move(chats)}})
             .dump(2) +
         "\n";
}

std::string selftest_program() { return *read_config("serve/selftest.py"); }

std::string model_card(const CardInfo& info) {
  std::string text = "---\n";
  if (!info.base_model.empty()) text += "base_model: " + yaml_string(info.base_model) + "\n";
  text += info.is_adapter ? "library_name: peft\n" : "library_name: transformers\n";
  text += info.scores ? "pipeline_tag: text-classification\n" : "pipeline_tag: text-generation\n";
  text += info.is_adapter ? "tags: [lora]\n" : "";
  text += "---\n\n# " + markdown_text(info.name) + "\n\n";
  text += info.base_model.empty() ? "Trained from scratch with Prentice.\n"
          : info.is_adapter
              ? "A LoRA adapter for " + markdown_text(info.base_model) + ", trained with Prentice.\n"
              : markdown_text(info.base_model) +
                    (info.training.empty() ? ", exported with Prentice.\n" : ", fine-tuned with Prentice.\n");
  const auto table = [&](const char* title, const auto& rows) {
    if (rows.empty()) return;
    text += fmt::format("\n## {}\n\n| | |\n|---|---|\n", title);
    for (const auto& [key, value] : rows) text += "| " + markdown_text(key) + " | " + markdown_text(value) + " |\n";
  };
  table("Training", info.training);
  table("Results", info.results);
  if (!info.base_model.empty()) {
    text += "\n## Licence\n\nThe licence of the base model applies to this work";
    for (size_t i = 0; i < info.licences.size(); ++i)
      text += (i == 0 ? "; it lies beside this card: " : ", ") + markdown_text(info.licences[i]);
    text += ".\n";
  }
  return text;
}

std::string checksums(const std::filesystem::path& folder, const std::vector<std::string>& names,
                      const FileHashes& known) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (const auto& name : names) {
    const auto path = folder / name;
    if (fs::is_regular_file(fs::symlink_status(path))) files.push_back(name);
    if (!fs::is_directory(fs::symlink_status(path))) continue;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.path().filename().string().starts_with('.')) continue;  // locks
      if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(fs::relative(entry.path(), folder).string());
    }
  }
  std::ranges::sort(files);
  std::string text;
  for (const auto& file : files) {
    const auto found = known.find(file);
    text += (found == known.end() ? sha256_file(folder / file) : found->second) + "  " + file + "\n";
  }
  return text;
}

}  // namespace prentice

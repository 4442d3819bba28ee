#include "artifact/score_head.h"

#include <algorithm>

#include "adapter/peft.h"
#include "adapter/saved_modules.h"
#include "config/adapter_rules.h"
#include "core/error.h"
#include "text/special_tokens.h"

namespace prentice {

void store_head_whole(const ModelSpec& spec, AdapterSection& adapter) {
  if (adapter.kind == AdapterKind::full) return;
  if (!starts_fresh(adapter)) {
    return require_same_head(adapter.init, read_peft_config(adapter.init).scores, true);
  }
  const std::string& head = spec.names.head;
  if (!is_saved(adapter.modules_to_save, head + ".weight")) adapter.modules_to_save.push_back(head);
}

void require_same_head(const std::string& adapter, bool adapter_scores, bool run_scores) {
  if (adapter_scores == run_scores) return;
  if (adapter_scores) {
    fail(ExitCode::usage, adapter + ": " + std::string(kScoresAlone), std::string(kWhatReadsScores));
  }
  fail(ExitCode::usage, adapter + ": this adapter is a language model's and has no score head",
       "merge it first (`prentice export export.merged=bf16`) and take the merged folder as model.path");
}

ModelSpec with_padding(const ModelSpec& spec, const Tokenizer& tokenizer) {
  const auto ends = [&](int32_t id) { return id == tokenizer.eos_id() || std::ranges::count(spec.eos_ids, id) > 0; };
  std::vector<std::optional<int32_t>> candidates = {tokenizer.pad_id(), spec.pad_id, tokenizer.unk_id(),
                                                    tokenizer.bos_id()};
  for (const auto& token : tokenizer.added_tokens()) {
    if (token.special) candidates.emplace_back(token.id);
  }
  for (const auto& id : candidates) {
    if (id && *id >= 0 && *id < spec.vocab && !ends(*id)) return with_pad_token(spec, *id);
  }
  return spec;
}

FileTexts with_pad_token_file(const ModelSpec& spec, const Tokenizer& tokenizer, FileTexts files) {
  if (spec.labels == 0 || !spec.pad_id || spec.pad_id == tokenizer.pad_id()) return files;
  const TokenizerFiles found = read_tokenizer_files(tokenizer.folder());
  const std::string token = tokenizer.id_to_token(*spec.pad_id);
  const auto set = [&](const char* name, Json settings, bool make) {
    if (const auto own = files.find(name); own != files.end()) settings = Json::parse(own->second);
    if (!settings.is_object() && !make) return;
    if (!settings.is_object()) settings = Json::Object{};
    settings["pad_token"] = token;
    files[name] = settings.dump(2) + "\n";
  };
  set("tokenizer_config.json", found.config, true);
  set("special_tokens_map.json", found.special_map, false);
  return files;
}

}  // namespace prentice

#include "adapter/vocabulary.h"

#include <fmt/format.h>

#include "adapter/peft.h"
#include "adapter/saved_modules.h"
#include "core/error.h"
#include "io/safetensors.h"
#include "model/resize.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

// The modules with a row for each token.
std::vector<std::string> vocabulary_ends(const ModelSpec& spec) {
  if (spec.labels > 0) return {spec.names.embed};
  return {spec.names.embed, spec.names.head};
}

// Rows of the embedding in the folder, trained or a copy; 0 when there is none.
int64_t stored_rows(const ModelSpec& base, const fs::path& folder) {
  const fs::path path = folder / "adapter_model.safetensors";
  if (!fs::exists(path)) return 0;  // the reader of the adapter says what is there instead
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const char* end : {".weight", ".base_layer.weight"}) {
    const TensorView* view = file.find("base_model.model." + base.names.embed + end);
    if (view && view->shape.size() == 2) return view->shape[0];
  }
  return 0;
}

}  // namespace

ModelSpec with_adapter_shape(ModelSpec base, const fs::path& folder) {
  const PeftConfig config = read_peft_config(folder);
  if (config.scores) base = with_context(ExitCode::model, folder.string(), [&] { return with_score_head(base); });
  const int64_t rows = stored_rows(base, folder);
  if (rows <= base.vocab) return base;
  for (const auto& module : vocabulary_ends(base)) {
    const bool follows = base.tied_head && config.ensure_tying && module == base.names.head;
    if (follows || is_saved(config.modules_to_save, module + ".weight")) continue;
    fail(ExitCode::model,
         fmt::format("{}: its vocabulary has {} rows, the base's {}, and the new ones of {} are not in modules_to_save",
                     folder.string(), rows, base.vocab, module),
         "merge it in peft (merge_and_unload) and take the merged folder");
  }
  return with_vocabulary(std::move(base), rows);
}

std::vector<std::string> save_both_ends(const ModelSpec& spec, std::vector<std::string>& words) {
  std::vector<std::string> added;
  for (const auto& module : vocabulary_ends(spec)) {
    if (is_saved(words, module + ".weight")) continue;
    added.push_back(module.substr(module.rfind('.') + 1));
    words.push_back(added.back());
  }
  return added;
}

}  // namespace prentice

#include "config/qat_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace prentice {

std::vector<std::string> check_qat(Checker& c, std::string_view kind, const ModelSection& model,
                                   const AdapterSection& adapter, const ExportSection& exports) {
  if (!trains_rounded(adapter) || adapter.kind == AdapterKind::full) return {};
  if (kind != SftRecipe::kKind && kind != DistillRecipe::kKind) {
    c.mistake("adapter.qat", fmt::format("not in this version in a recipe of kind {}", kind),
              "sft and distill train against a file's rounding");
  }
  if (model.quantize != "none") {
    c.mistake("model.quantize", "adapter.qat rounds the base's own weights, as the export does, and not four bits",
              "remove the key");
  }
  if (!model.add_tokens.empty()) {
    c.mistake("model.add_tokens", fmt::format("embedding and head train whole, which {}", kNotWithQat),
              "add the tokens in a run before, without adapter.qat, and go on from its merged/ folder");
  }
  if (!exports.imatrix.empty()) {
    c.mistake("export.imatrix", "an importance matrix makes other blocks than those that adapter.qat trains",
              "remove the key");
  }
  if (exports.dtype != "f32") {
    c.mistake("export.dtype", "adapter.qat trains the blocks of an adapter in f32, and a rounded one makes others",
              "export.dtype=f32");
  }
  std::vector<std::string> warnings;
  if (std::ranges::count(exports.gguf, adapter.qat) == 0) {
    warnings.push_back(
        fmt::format("adapter.qat: {0} trains for a file that export.gguf does not ask for; add "
                    "export.gguf=[{0}]",
                    adapter.qat));
  }
  if (exports.gguf_adapter != "none") {
    warnings.push_back(
        "export.gguf_adapter: adapter.qat trains the merged file; the adapter beside a base is another model");
  }
  return warnings;
}

}  // namespace prentice

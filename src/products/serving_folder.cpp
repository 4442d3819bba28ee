#include "products/serving_folder.h"

#include <algorithm>

#include "core/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/publish.h"
#include "model/model.h"
#include "products/product_files.h"
#include "quant/encode.h"

namespace prentice {

namespace fs = std::filesystem;

bool is_built_anew(const Tokenizer& tokenizer) {
  const fs::path config = tokenizer.folder() / "tokenizer_config.json";
  if (fs::exists(config)) {
    const Json json = with_context(ExitCode::model, "", [&] { return Json::parse_file(config); });
    const Json* name = json.find("tokenizer_class");
    for (const char* as_it_stands : {"PreTrainedTokenizerFast", "TokenizersBackend"}) {
      if (name && *name == Json(as_it_stands)) return false;
    }
  }
  for (const auto& token : tokenizer.added_tokens()) {
    const auto ids = tokenizer.encode(token.content + "a", false);
    if (ids.size() > 1 && ids[0] == token.id) return tokenizer.id_to_token(ids[1]).starts_with("\u2581");
  }
  return false;
}

// Servers compute folders in halves, in bf16 unless they hold f16, and
// read activations in int8 where weights are blocks.
std::vector<Tolerance> tolerances_of(const ProductSource& source, const ExportSection& section, const ServingInfo& info,
                                     const Verification& found) {
  ServedProduct product{
      .own = source.computed_in, .parameters = parameter_count(source.spec), .limits = section.limits};
  std::vector<Tolerance> all;
  const auto add = [&](const std::string& name, std::optional<std::string> type, const std::string& computed_in) {
    product.name = name, product.type = std::move(type), product.computed_in = computed_in;
    const auto proof = found.logits.find(name);
    product.kld = proof == found.logits.end() ? std::nullopt : std::optional(proof->second.kld_mean);
    all.push_back(tolerance_of(product));
  };
  if (info.merged) {
    const bool written = section.merged != "none";  // or it is the trained model itself
    std::string type = section.merged;
    std::ranges::transform(type, type.begin(), [](char c) { return static_cast<char>(std::toupper(c)); });
    add("merged", written ? std::optional(type) : std::nullopt, section.merged == "f16" ? "F16" : "BF16");
  }
  if (info.peft) add("adapter", std::nullopt, "BF16");
  if (info.gguf_adapter) add(kAdapterFile, std::nullopt, "Q8_0");
  for (size_t i = 0; i < info.gguf_files.size(); ++i) {
    const std::string type(file_type_name(file_type_named(section.gguf.at(i))));
    const bool halves = type == "F32" || type == "F16";
    add("gguf/" + info.gguf_files[i], type, halves ? "F16" : type == "BF16" ? "BF16" : "Q8_0");
  }
  return all;
}

void write_serving(const ProductSource& source, const ServingInfo& info, const SelfTest& self_test,
                   const std::vector<Tolerance>& tolerances, const fs::path& out) {
  TempFolder folder(out / "serve");
  write_file_durably(folder.path() / "serve.md", serve_markdown(info));
  if (const std::string text = modelfile(info); !text.empty()) write_file_durably(folder.path() / "Modelfile", text);
  std::vector<std::string> licences;
  for (const auto& [name, text] : source.licences) {
    write_file_durably(folder.path() / name, text);
    licences.push_back(name);
  }
  // Beside the products and not in them: it bears the run's name, which the bytes of adapter/ and merged/ must not.
  write_file_durably(folder.path() / "model_card.md", model_card({.name = info.name,
                                                                  .base_model = source.base_model,
                                                                  .is_adapter = info.peft,
                                                                  .scores = info.scores,
                                                                  .training = source.training,
                                                                  .results = source.results,
                                                                  .licences = std::move(licences)}));
  if (info.self_test) {
    write_file_durably(folder.path() / "selftest.json", selftest_json(info.name, self_test, tolerances));
    write_file_durably(folder.path() / "selftest.py", selftest_program());
  }
  folder.publish(IfExists::replace);
}

}  // namespace prentice

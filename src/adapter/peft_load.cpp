#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>
#include <set>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "core/error.h"
#include "core/mistakes.h"
#include "io/safetensors.h"
#include "model/stored_values.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";

// Compares what the config and the model ask for with what the file holds.
class Loader {
 public:
  Loader(Model& model, const PeftConfig& config, const SafetensorsFile& file)
      : model_(model), config_(config), file_(file) {}

  void check() {
    const TargetRule rule = target_rule(config_);
    visit_linears(model_, [&](Linear& linear) {
      if (!rule.matches(linear.name, linear.name == model_.head.name)) return;
      const int64_t rank = value_for(linear.name, config_.rank_pattern, config_.rank);
      expect(linear.name + ".lora_A.weight", {rank, linear.in_features});
      expect(linear.name + ".lora_B.weight", {linear.out_features, rank});
      targeted_.insert(linear.name);
    });
    if (targeted_.empty()) {
      mistakes_.add(
          fmt::format("target_modules: '{}' matches no linear layer of the model", fmt::join(config_.targets, ", ")),
          "the adapter was made for another model");
    }
    for (const TensorView& view : file_.tensors()) {
      if (!expected_.contains(view.name)) check_extra(view);
    }
    mistakes_.throw_if_any(ExitCode::model);
  }

  void attach() {
    int64_t module = 0;
    visit_linears(model_, [&](Linear& linear) {
      const int64_t index = module++;
      if (!targeted_.contains(linear.name)) return;
      const Tensor& weight = dense_weight(linear);
      const auto type = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
      const auto stored = [&](const char* part) {
        const std::string name = std::string(kPrefix) + linear.name + part;
        const Tensor values = stored_values(*file_.find(name));
        if (!values.isfinite().all().item<bool>()) {  // before the move: a model on `meta` has no values to look at
          fail(ExitCode::model, "tensor " + name + " holds a value that is not finite");
        }
        return values.to(weight.options().dtype(type).requires_grad(false));
      };
      Lora lora{.a = stored(".lora_A.weight"), .b = stored(".lora_B.weight")};
      lora.alpha = value_for(linear.name, config_.alpha_pattern, config_.alpha);
      lora.rslora = config_.rslora;
      lora.scale = lora_scale(lora.alpha, lora.a.size(0), lora.rslora);
      lora.dropout = config_.dropout;
      lora.module = index;
      linear.lora = std::move(lora);
    });
  }

 private:
  void expect(const std::string& name, const std::vector<int64_t>& shape) {
    const std::string stored = std::string(kPrefix) + name;
    expected_.insert(stored);
    const TensorView* view = file_.find(stored);
    if (!view) return mistakes_.add(fmt::format("tensor {} is missing", stored));
    if (view->shape != shape) {
      mistakes_.add(fmt::format("tensor {}: expected shape [{}], got [{}]", stored, fmt::join(shape, ", "),
                                fmt::join(view->shape, ", ")));
    } else if (!stored_type(view->dtype)) {
      mistakes_.add(fmt::format("tensor {}: type {} is not supported", stored, dtype_name(view->dtype)), kStoredTypes);
    }
  }

  // PEFT stores the embedding and the head beside an adapter that touches them.
  bool repeats_the_base(const TensorView& view) {
    for (const auto& [name, base] :
         {std::pair{model_.spec.names.embed, model_.embed}, std::pair{model_.head.name, dense_weight(model_.head)}}) {
      const std::string stem = std::string(kPrefix) + name;
      if (view.name != stem + ".weight" && view.name != stem + ".base_layer.weight") continue;
      const bool same = base.sizes().vec() == view.shape && stored_type(view.dtype) &&
                        at::equal(stored_values(view).to(base.options()), base.detach());
      if (!same) {
        mistakes_.add(fmt::format("tensor {} differs from the base model's: the adapter came with its own", view.name),
                      "merge it in peft first, or load it on the base it was made for");
      }
      return true;
    }
    return false;
  }

  void check_extra(const TensorView& view) {
    if (repeats_the_base(view)) return;
    if (view.name.find(".lora_embedding_") != std::string::npos) {
      return mistakes_.add(fmt::format("tensor {}: an adapter on the embedding is not in this version", view.name));
    }
    if (!view.name.starts_with(kPrefix)) {
      return mistakes_.add(fmt::format("tensor {} does not begin with {}", view.name, kPrefix));
    }
    mistakes_.add(fmt::format("tensor {} belongs to no module that target_modules names", view.name));
  }

  Model& model_;
  const PeftConfig& config_;
  const SafetensorsFile& file_;
  std::set<std::string> expected_, targeted_;
  Mistakes mistakes_;
};

SafetensorsFile open_weights(const fs::path& folder) {
  const fs::path path = folder / "adapter_model.safetensors";
  std::error_code error;
  if (fs::exists(path, error)) return SafetensorsFile::open(path);
  if (fs::exists(folder / "adapter_model.bin", error)) {
    fail(ExitCode::model, folder.string() + ": adapter_model.bin is a pickle, which can run code when it is read",
         "convert it once in Python: PeftModel.from_pretrained(BASE, DIR).save_pretrained(DIR)");
  }
  fail(ExitCode::model, folder.string() + ": has no adapter_model.safetensors");
}

}  // namespace

void load_peft(Model& model, const fs::path& folder) {
  if (has_adapter(model))
    fail(ExitCode::usage, folder.string() + ": the model has an adapter already", "merge it first");
  const PeftConfig config = read_peft_config(folder);
  const SafetensorsFile file = open_weights(folder);
  with_context(ExitCode::model, folder.string(), [&] {
    Loader loader(model, config, file);
    loader.check();
    loader.attach();
  });
}

}  // namespace prentice

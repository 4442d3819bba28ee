#include "adapter/peft_folder.h"

#include <ATen/ops/equal.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "adapter/lora.h"
#include "adapter/saved_modules.h"
#include "core/error.h"
#include "core/mistakes.h"
#include "core/wide_type.h"
#include "model/stored_values.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";

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

bool names_head_or_embedding(const Model& model, const std::string& module) {
  return module == model.spec.names.embed || module == model.head.name;
}

}  // namespace

// Compares what the config and the model ask for with what the file holds.
class PeftReader {
 public:
  PeftReader(PeftFolder& folder, const Model& model)
      : folder_(folder), config_(folder.config_), file_(*folder.file_), model_(model) {}

  void read() {
    read_whole();
    read_factors();
    for (const TensorView& view : file_.tensors()) {
      if (!expected_.contains(view.name)) check_extra(view);
    }
    mistakes_.throw_if_any(ExitCode::model);
    folder_.unties_ = unties();
  }

 private:
  void read_factors() {
    const TargetRule rule = target_rule(config_);
    const std::string& embed = model_.spec.names.embed;
    if (targeted(rule, embed, true)) take_factors(embed, model_.spec.vocab, model_.spec.hidden, true);
    visit_linears(model_, [&](const Linear& linear) {
      if (!targeted(rule, linear.name, linear.name == model_.head.name)) return;
      take_factors(linear.name, linear.in_features, linear.out_features, false);
    });
    if (folder_.factors_.empty()) {
      mistakes_.add(
          fmt::format("target_modules: '{}' matches no linear layer of the model", fmt::join(config_.targets, ", ")),
          "the adapter was made for another model");
    }
  }

  // What is saved whole is no target (peft.tuners.tuners_utils.check_target_module_exists).
  bool targeted(const TargetRule& rule, const std::string& module, bool is_end) const {
    return rule.matches(module, is_end) && !is_saved_module(config_.modules_to_save, module);
  }

  void take_factors(const std::string& module, int64_t in, int64_t out, bool embedding) {
    PeftFactors factors{.module = module, .embedding = embedding};
    factors.rank = value_for(module, config_.rank_pattern, config_.rank);
    factors.alpha = value_for(module, config_.alpha_pattern, config_.alpha);
    factors.scale = lora_scale(factors.alpha, factors.rank, config_.rslora);
    factors.a = expect(module + (embedding ? ".lora_embedding_A" : ".lora_A.weight"), {factors.rank, in});
    factors.b = expect(module + (embedding ? ".lora_embedding_B" : ".lora_B.weight"), {out, factors.rank});
    if (config_.dora && embedding) {
      mistakes_.add(fmt::format("{}: use_dora on an embedding is not in this version", module));
    } else if (config_.dora) {
      factors.magnitude = expect(module + ".lora_magnitude_vector", {out});
    }
    folder_.factors_.push_back(std::move(factors));
  }

  void read_whole() {
    visit_with_head(model_, [&](const std::string& name, const Tensor& tensor) {
      if (!is_saved(config_.modules_to_save, name)) return;
      const bool is_tied_head = model_.spec.tied_head && name == model_.head.name + ".weight";
      if (is_tied_head && config_.ensure_tying) return;
      if (const TensorView* view = expect(name, tensor.sizes().vec())) folder_.whole_.push_back({name, view});
    });
    if (model_.spec.tied_head && config_.ensure_tying) ignore(model_.head.name + ".weight");
    for (const auto& idle : saved_mistakes(model_, config_.modules_to_save)) {
      mistakes_.add(fmt::format("modules_to_save: '{}' is no module of the model", idle.word));
    }
  }

  void ignore(const std::string& name) { expected_.insert(std::string(kPrefix) + name); }

  const TensorView* expect(const std::string& name, const std::vector<int64_t>& shape) {
    const std::string stored = std::string(kPrefix) + name;
    expected_.insert(stored);
    const TensorView* view = file_.find(stored);
    if (!view) {
      mistakes_.add(fmt::format("tensor {} is missing", stored));
    } else if (view->shape != shape) {
      mistakes_.add(fmt::format("tensor {}: expected shape [{}], got [{}]", stored, fmt::join(shape, ", "),
                                fmt::join(view->shape, ", ")));
    } else if (!stored_type(view->dtype)) {
      mistakes_.add(fmt::format("tensor {}: type {} is not supported", stored, dtype_name(view->dtype)), kStoredTypes);
    }
    return view;
  }

  void check_extra(const TensorView& view) {
    for (const auto& module : {model_.spec.names.embed, model_.head.name}) {
      const std::string stem = std::string(kPrefix) + module;
      for (const char* end : {".weight", ".bias"}) {
        const bool is_copy = view.name == stem + end || view.name == stem + ".base_layer" + end;
        if (is_copy) return folder_.copies_.push_back({module + end, &view});
      }
    }
    if (!view.name.starts_with(kPrefix)) {
      return mistakes_.add(fmt::format("tensor {} does not begin with {}", view.name, kPrefix));
    }
    mistakes_.add(fmt::format("tensor {} belongs to no module that target_modules names", view.name));
  }

  bool unties() const {
    if (!model_.spec.tied_head) return false;
    const bool touched = std::ranges::any_of(
        folder_.factors_, [&](const auto& factors) { return names_head_or_embedding(model_, factors.module); });
    if (touched) return true;
    return !config_.ensure_tying && std::ranges::any_of(folder_.whole_, [&](const auto& whole) {
      return whole.tensor == model_.head.name + ".weight" || whole.tensor == model_.spec.names.embed + ".weight";
    });
  }

  PeftFolder& folder_;
  const PeftConfig& config_;
  const SafetensorsFile& file_;
  const Model& model_;
  std::set<std::string> expected_;
  Mistakes mistakes_;
};

PeftFolder PeftFolder::open(const fs::path& path, const Model& model) {
  PeftFolder folder;
  folder.folder_ = path;
  folder.config_ = read_peft_config(path);
  folder.file_ = std::make_shared<const SafetensorsFile>(open_weights(path));
  with_context(ExitCode::model, path.string(), [&] { PeftReader(folder, model).read(); });
  return folder;
}

void PeftFolder::check_copies(const std::function<Tensor(const std::string&)>& of_base) const {
  Mistakes mistakes;
  for (const auto& [name, view] : copies_) {
    const Tensor base = of_base(name);
    if (base.defined() && base.is_meta()) continue;
    const bool same = base.defined() && base.sizes().vec() == view->shape && stored_type(view->dtype) &&
                      at::equal(stored_values(*view).to(base.options()), base.detach());
    if (same) continue;
    mistakes.add(fmt::format("tensor {} differs from the base model's: the adapter came with its own", view->name),
                 "merge it in peft first, or load it on the base it was made for");
  }
  with_context(ExitCode::model, folder_.string(), [&] { mistakes.throw_if_any(ExitCode::model); });
}

Tensor PeftFolder::values(const TensorView& view) {
  const Tensor values = stored_values(view);
  if (!values.isfinite().all().item<bool>()) {
    fail(ExitCode::model, "tensor " + view.name + " holds a value that is not finite");
  }
  return values.to(wide_type(values));
}

}  // namespace prentice

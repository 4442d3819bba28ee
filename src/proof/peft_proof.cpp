#include "proof/peft_proof.h"

#include <ATen/ops/equal.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "adapter/peft_folder.h"
#include "model/make.h"
#include "model/stored_values.h"
#include "proof/artifact_reading.h"
#include "proof/same_number.h"
#include "proof/token_proof.h"
#include "proof/tokenizer_proof.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// One tensor of an adapter, named as people are told of it.
struct NamedView {
  std::string name;
  const TensorView* view = nullptr;
};

std::vector<NamedView> tensors_of(const PeftFolder& folder) {
  std::vector<NamedView> found;
  for (const auto& one : folder.factors()) {
    found.push_back({one.module + ": A", one.a});
    found.push_back({one.module + ": B", one.b});
    if (one.magnitude != nullptr) found.push_back({one.module + ": magnitude", one.magnitude});
  }
  for (const auto& one : folder.whole()) found.push_back({one.tensor, one.view});
  return found;
}

Check modules_check(const std::vector<NamedView>& trained, const std::vector<NamedView>& found) {
  const auto lacks = [](const std::vector<NamedView>& all, const NamedView& one) {
    return std::ranges::none_of(
        all, [&](const NamedView& other) { return other.name == one.name && other.view->shape == one.view->shape; });
  };
  for (const auto& one : trained) {
    if (lacks(found, one)) return equal_check("tensors", false, one.name + " is missing, or has another shape");
  }
  for (const auto& one : found) {
    if (lacks(trained, one)) return equal_check("tensors", false, one.name + " was not trained");
  }
  return equal_check("tensors", true, fmt::format("{} tensors", found.size()));
}

Check scales_check(const PeftFolder& trained, const PeftFolder& found) {
  for (size_t i = 0; i < trained.factors().size(); ++i) {
    const auto &wanted = trained.factors()[i], &other = found.factors()[i];
    if (same_number(wanted.scale, other.scale)) continue;
    return equal_check("scale", false,
                       fmt::format("{}: expected {:.8g}, got {:.8g}", wanted.module, wanted.scale, other.scale));
  }
  return equal_check("scale", true, "");
}

// Both lists hold the same tensors in the same order.
Check values_check(const std::vector<NamedView>& trained, const std::vector<NamedView>& found) {
  for (size_t i = 0; i < found.size(); ++i) {
    const Tensor values = reading_artifact([&] { return PeftFolder::values(*found[i].view); });
    const Tensor wanted = PeftFolder::values(*trained[i].view);
    const auto type = stored_type(found[i].view->dtype).value_or(values.scalar_type());
    if (at::equal(wanted.to(type).to(at::kDouble), values.to(at::kDouble))) continue;
    return equal_check("values", false, fmt::format("{} has other values than were trained", found[i].name));
  }
  return equal_check("values", true, "every value is the trained one");
}

std::string type_of(const std::vector<NamedView>& tensors) {
  const auto holds = [&](DType dtype) {
    return std::ranges::any_of(tensors, [&](const NamedView& one) { return one.view->dtype == dtype; });
  };
  return holds(DType::bf16) ? "BF16" : holds(DType::f16) ? "F16" : "F32";
}

}  // namespace

Verification verify_peft_artifact(const fs::path& folder, const std::optional<Tokenizer>& own,
                                  const TrainedAdapter& trained, const ProofRules& rules) {
  const Model shape = make_model(trained.spec, {.dtype = at::kFloat, .device = at::kMeta});
  rules.say("tensors");
  const auto wanted = PeftFolder::open(trained.adapter, shape);
  const auto found = reading_artifact([&] { return PeftFolder::open(folder, shape); });
  const auto wanted_tensors = tensors_of(wanted), tensors = tensors_of(found);
  Verification result;
  result.checks.push_back(read_strictly(tensors.size(), "tensors"));
  if (!result.add({modules_check(wanted_tensors, tensors)})) return result;
  result.add({scales_check(wanted, found), values_check(wanted_tensors, tensors)});
  if (own) {
    rules.say("vocabulary");
    result.add(tokenizer_checks(trained.tokenizer, *own, rules.threads));
    result.add(text_checks(trained.tokenizer, *own, {.texts = rules.texts, .threads = rules.threads}));
  }
  if (!result.passed()) return result;
  add_logits(result, folder.filename().string(),
             {.model = adapted_reader(trained.base, trained.adapter, trained.spec),
              .made = adapted_reader(trained.base, folder, trained.spec),
              .stop_ids = trained.stop_ids,
              .type = type_of(tensors)},
             rules);
  return result;
}

}  // namespace prentice

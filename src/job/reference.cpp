#include "job/reference.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "adapter/frozen.h"
#include "adapter/lora.h"
#include "config/adapter_rules.h"
#include "config/preference_rules.h"
#include "config/words.h"
#include "core/error.h"
#include "data/steps.h"
#include "io/publish.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "objective/sequence_sums.h"
#include "objective/token_log_probs.h"
#include "run/signals.h"
#include "train/tensor_file.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr const char* kReferenceKey = "preference.reference";
constexpr const char* kReferenceFile = "reference.safetensors";

// A fresh adapter adds nothing at the first step, so the model without it is the model as it was. A magnitude's gain is
// 1 only within rounding: DoRA is copied.
bool off_is_start(const AdapterSection& adapter) { return starts_fresh(adapter) && adapter.kind == AdapterKind::lora; }

ModelSection reference_section(const DpoRecipe& recipe) {
  return {.path = recipe.preference.reference, .quantize = recipe.model.quantize};
}

std::vector<Sequence*> all_sequences(TrainEvalSets& data) {
  std::vector<Sequence*> all;
  for (auto& sequence : data.train.encoded.sequences) all.push_back(&sequence);
  if (data.eval) {
    for (auto& sequence : data.eval->encoded.sequences) all.push_back(&sequence);
  }
  return all;
}

std::string binding_of(const std::vector<Sequence*>& sequences, InputHashes& inputs) {
  Sha256 hash;
  for (const auto& input : inputs.get()) hash.update_sized(input.key), hash.update_sized(input.sha256);
  for (const auto* sequence : sequences) {
    hash.update_sized(sequence->ids);
    hash.update_sized(sequence->labels);
    hash.update_sized(sequence->weights);
  }
  return hash.hex();
}

std::span<const std::byte> bytes_of(const Tensor& numbers) {
  return {static_cast<const std::byte*>(numbers.const_data_ptr()), numbers.nbytes()};
}

// [count] f64 on the host. Errors: `model` when they are of other inputs, or not those that were written.
Tensor read_numbers(const fs::path& path, int64_t count, const std::string& binding) {
  const auto metadata = SafetensorsFile::open(path).metadata();
  const auto says = [&](const char* key, const std::string& value) {
    const auto found = metadata.find(key);
    return found != metadata.end() && found->second == value;
  };
  if (!says("binding", binding)) {
    fail(ExitCode::model, path.string() + ": these log-probabilities are of another model, data, tokenizer or template",
         "remove the file, and they are computed again");
  }
  Tensor numbers = at::empty({count}, at::kDouble);
  read_tensors(path, {{"log_probabilities", numbers}});
  if (!says("sha256", sha256_hex(bytes_of(numbers)))) {
    fail(ExitCode::model, path.string() + ": these log-probabilities are not the ones that were written (SHA-256)",
         "remove the file, and they are computed again");
  }
  return numbers;
}

void write_numbers(const fs::path& path, const Tensor& numbers, const std::string& binding) {
  TempFile file(path);
  fs::remove(file.path());
  SafetensorsWriter writer(file.path(), {{"log_probabilities", DType::f64, {numbers.size(0)}}},
                           {{"binding", binding}, {"sha256", sha256_hex(bytes_of(numbers))}});
  writer.write("log_probabilities", bytes_of(numbers));
  writer.finish();
  file.publish();
}

}  // namespace

Tensor answer_sums(const Model& model, const Batch& batch, const ForwardOptions& options) {
  const Tensor hidden = forward_hidden(model, batch, options);
  return sequence_sums(token_log_probs(hidden, model.head, model.spec.final_softcap, batch, options), batch);
}

ModelShape reference_shape(const PreferenceSection& section) {
  ModelShape shape = open_shape({.path = section.reference}, kReferenceKey);
  require_language_model(kReferenceKey, shape.artifact.address, shape.spec);
  return shape;
}

std::optional<AskedModel> asked_reference(const DpoRecipe& recipe, const Opened& policy, int64_t trainable) {
  if (!needs_reference(recipe.preference.loss)) return {};
  AskedModel asked{
      .spec = policy.spec, .dtype = policy.machine.dtype, .every_step = !keeps_log_probs(recipe.preference)};
  if (names_a_model(recipe.preference)) {
    asked.spec = reference_shape(recipe.preference).spec;
    asked.quantize = quantize_of(reference_section(recipe), asked.spec);
    asked.bytes = held_bytes(asked.spec, policy.machine.dtype, asked.quantize);
  } else if (compares_with_start(recipe.preference) && !off_is_start(recipe.adapter)) {
    asked.bytes = trainable * static_cast<int64_t>(sizeof(float));
  }
  return asked;
}

std::string reference_words(const DpoRecipe& recipe) {
  const PreferenceSection& section = recipe.preference;
  if (!needs_reference(section.loss)) {
    return fmt::format("none, preference.loss: {} has no use for one", word_of(section.loss));
  }
  if (keeps_log_probs(section)) return "precomputed: the start's log-probabilities, kept in the run folder";
  if (names_a_model(section)) return "another model: " + section.reference;
  return off_is_start(recipe.adapter) ? "the model itself with its adapter off" : "a copy of the adapter as it starts";
}

void require_same_tokens(const NamedTokenizer& reference, const Opened& policy) {
  require_same_vocabulary(kReferenceKey, reference, {policy.artifact.address, policy.tokenizer},
                          "the reference reads the same tokens: take a model with the same tokenizer");
}

Reference::Reference(Model& policy, const DpoRecipe& recipe, const Opened& opened) : policy_(policy) {
  const PreferenceSection& section = recipe.preference;
  if (!needs_reference(section.loss)) return;
  if (keeps_log_probs(section)) {
    way_ = Way::precomputed;
  } else if (names_a_model(section)) {
    const Opened other = open_model(reference_shape(section), reference_section(recipe), opened.machine);
    require_same_tokens({other.artifact.address, other.tokenizer}, opened);
    own_ = load_weights(other, static_cast<uint64_t>(recipe.run.seed));
    way_ = Way::own;
  } else if (off_is_start(recipe.adapter)) {
    way_ = Way::adapter_off;
  } else {
    own_ = frozen_copy(policy);
    way_ = Way::own;
  }
}

Tensor Reference::sums(const Batch& batch) const {
  if (way_ == Way::none) return {};
  if (batch.reference.defined()) return batch.reference;
  const c10::NoGradGuard no_grad;
  std::optional<AdapterOff> off;
  if (way_ == Way::adapter_off) off.emplace(policy_);
  return answer_sums(own_ ? *own_ : policy_, batch, {});
}

Tensor Reference::compute(const std::vector<Sequence*>& sequences, int64_t micro_tokens) const {
  Tensor numbers = at::empty({static_cast<int64_t>(sequences.size())}, at::kDouble);
  const auto device = device_of(policy_);
  int64_t next = 0;
  const std::vector<const Sequence*> readable(sequences.begin(), sequences.end());
  collate_in_order(readable, micro_tokens, [&](const Batch& batch) {
    throw_if_stopped(kContinues);
    const Tensor found = sums(to_device(batch, device)).to(at::kCPU, at::kDouble);
    numbers.narrow(0, next, found.size(0)).copy_(found);
    next += found.size(0);
  });
  return numbers;
}

void Reference::precompute(TrainEvalSets& data, const fs::path& folder, InputHashes& inputs, int64_t micro_tokens,
                           bool quiet) const {
  if (way_ != Way::precomputed) return;
  const auto sequences = all_sequences(data);
  const fs::path path = folder / kReferenceFile;
  const std::string binding = binding_of(sequences, inputs);
  const auto count = static_cast<int64_t>(sequences.size());
  Tensor numbers;
  if (fs::exists(path)) {
    numbers = read_numbers(path, count, binding);
  } else {
    if (!quiet) fmt::print(stderr, "reference: log-probabilities of {} answers\n", count);
    numbers = compute(sequences, micro_tokens);
    write_numbers(path, numbers, binding);
  }
  for (int64_t i = 0; i < count; ++i) sequences[i]->reference = numbers.const_data_ptr<double>()[i];
}

}  // namespace prentice

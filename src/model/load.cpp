#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "core/error.h"
#include "core/mistakes.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "model/gguf_load.h"
#include "model/make.h"
#include "model/model.h"
#include "model/resize.h"
#include "model/stored_nf4.h"
#include "model/stored_values.h"

namespace prentice {

namespace {

// `*` stands for any text.
bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t at = star; at <= name.size(); ++at) {
    if (matches(rest, name.substr(at))) return true;
  }
  return false;
}

// A tied model's stored head that is the embedding once more.
bool repeats_embedding(const TensorView& head, const TensorView* embedding) {
  return embedding && head.dtype == embedding->dtype && head.shape == embedding->shape &&
         std::memcmp(head.bytes.data(), embedding->bytes.data(), head.bytes.size()) == 0;
}

// A tensor under its own name, or as some files spell it; nullptr when it is not there.
const TensorView* find_spelled(const WeightFolder& weights, const ModelSpec& spec, const std::string& name) {
  if (const TensorView* view = weights.find(name)) return view;
  for (const auto& [stored, own] : spec.names.stored_prefixes) {
    if (!name.starts_with(own)) continue;
    if (const TensorView* view = weights.find(stored + name.substr(own.size()))) return view;
  }
  return nullptr;
}

class Checker {
 public:
  Checker(const ModelSpec& spec, const WeightFolder& weights) : spec_(spec), weights_(weights) {
    if (stored_quantize(spec) != Quantize::none) may_be_nf4_ = nf4_weights(spec);
  }

  // Errors: `model`, all differences between the files and the spec.
  std::vector<const TensorView*> match() {
    std::vector<const TensorView*> matched;
    for (const auto& tensor : expected_tensors(spec_)) matched.push_back(check_expected(tensor));
    const std::set<const TensorView*> expected(matched.begin(), matched.end());
    for (const TensorView* view : weights_.tensors()) {
      if (!expected.contains(view)) check_extra(*view);
    }
    mistakes_.throw_if_any(ExitCode::model);
    return matched;
  }

 private:
  const TensorView* check_expected(const TensorShape& tensor) {
    const TensorView* view = find_spelled(weights_, spec_, tensor.name);
    if (!view) {
      mistakes_.add(fmt::format("tensor {} is missing", tensor.name));
      return nullptr;
    }
    if (may_be_nf4_.contains(tensor.name) && holds_codes(weights_, *view)) {
      nf4_.push_back(view);
      if (const std::string fault = nf4_fault(weights_, *view, tensor.shape); !fault.empty()) {
        mistakes_.add(fmt::format("tensor {}: {}", view->name, fault));
      }
      return view;
    }
    if (view->shape != tensor.shape) {
      mistakes_.add(fmt::format("tensor {}: expected shape [{}] by config.json, got [{}]", tensor.name,
                                fmt::join(tensor.shape, ", "), fmt::join(view->shape, ", ")));
    }
    if (!stored_type(view->dtype)) {
      mistakes_.add(fmt::format("tensor {}: type {} is not supported", tensor.name, dtype_name(view->dtype)),
                    kStoredTypes);
    }
    return view;
  }

  void check_extra(const TensorView& view) {
    for (const auto& pattern : spec_.ignorable_tensors) {
      if (matches(pattern, view.name)) return;
    }
    for (const TensorView* codes : nf4_) {
      if (stands_beside(view.name, codes->name)) return;
    }
    const std::string embedding = spec_.names.embed + ".weight";
    if (spec_.tied_head && &view == find_spelled(weights_, spec_, spec_.names.head + ".weight")) {
      if (repeats_embedding(view, find_spelled(weights_, spec_, embedding))) return;
      return mistakes_.add(
          fmt::format("tensor {} differs from {}, but config.json says tie_word_embeddings", view.name, embedding),
          "set tie_word_embeddings to false if the head is a weight of its own");
    }
    mistakes_.add(fmt::format("tensor {} is not part of this architecture", view.name));
  }

  const ModelSpec& spec_;
  const WeightFolder& weights_;
  std::set<std::string> may_be_nf4_;
  std::vector<const TensorView*> nf4_;  // codes that stand in the place of weights
  Mistakes mistakes_;
};

// Of a tensor of the vocabulary with more rows than the file: those of the file; the others become zero.
Tensor stored_rows(Tensor& tensor, int64_t stored) {
  tensor.narrow(0, stored, tensor.size(0) - stored).zero_();
  return tensor.narrow(0, 0, stored);
}

// Of a folder in four bits: its layers as they are stored, which some may be in their own values.
void take_stored(Model& model, const WeightFolder& weights, const std::map<std::string, const TensorView*>& views,
                 const LoadOptions& options) {
  visit_linears(model, [&](Linear& linear) {
    if (!is_quantized(linear)) return;
    const TensorView& view = *views.at(linear.name + ".weight");
    const std::vector<int64_t> shape = {linear.out_features, linear.in_features};
    if (holds_codes(weights, view)) {
      linear.weight = copied(stored_nf4(weights, view, shape, options.dtype), options.device);
    } else {
      linear.weight = Dense{at::empty(shape, at::TensorOptions(options.dtype).device(options.device))};
    }
  });
}

}  // namespace

std::vector<const TensorView*> match_weights(const ModelSpec& spec, const WeightFolder& weights) {
  return Checker(spec, weights).match();
}

Model load_model(const std::filesystem::path& folder, const LoadOptions& options) {
  return load_model(folder, options, 0);
}

Model load_model(const std::filesystem::path& folder, const LoadOptions& options, int64_t rows) {
  const ModelSpec stored = read_spec(folder);
  return load_model(folder, options, with_vocabulary(stored, std::max(rows, stored.vocab)), 0);
}

Model load_model(const std::filesystem::path& folder, const LoadOptions& any_options, const ModelSpec& wanted,
                 uint64_t seed) {
  if (is_gguf_file(folder)) return load_gguf(folder, any_options, wanted, seed);
  const c10::NoGradGuard no_grad;
  const ModelSpec stored = read_spec(folder);
  LoadOptions options = any_options;
  const bool in_four_bits = stored_quantize(stored) != Quantize::none;
  if (in_four_bits) options.quantize = stored_quantize(stored);
  const WeightFolder weights = WeightFolder::open(folder);
  return with_context(ExitCode::model, folder.string(), [&] {
    const auto matched = match_weights(stored, weights);
    std::map<std::string, const TensorView*> views;
    for (const auto& tensor : expected_tensors(stored)) views.emplace(tensor.name, matched[views.size()]);
    Model model = make_model(wanted, options);
    if (in_four_bits) take_stored(model, weights, views, options);
    std::map<const TensorView*, Tensor> destinations;
    visit(model, [&](const std::string& name, Tensor& tensor) {
      const auto found = views.find(name);
      if (found == views.end()) return start_weight(wanted, seed, name, tensor);  // a score head alone
      const TensorView* view = found->second;
      destinations[view] = tensor.sizes().vec() == view->shape ? tensor : stored_rows(tensor, view->shape[0]);
    });
    std::map<const TensorView*, Nf4*> quantized;
    visit_linears(model, [&](Linear& linear) {
      auto* held = std::get_if<Nf4>(&linear.weight);
      if (held && !in_four_bits) quantized[views.at(linear.name + ".weight")] = held;
    });
    std::vector<StoredCopy> copies;
    for (const auto& file : weights.files()) {
      for (const auto& view : file.tensors()) {
        const auto destination = destinations.find(&view);
        if (destination != destinations.end()) copies.push_back({destination->second, &view});
        const auto held = quantized.find(&view);
        if (held != quantized.end()) encode_stored(*held->second, view);
      }
    }
    copy_stored(copies);
    return model;
  });
}

}  // namespace prentice

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "core/error.h"
#include "core/mistakes.h"
#include "io/safetensors.h"
#include "model/make.h"
#include "model/model.h"
#include "model/resize.h"
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
  Checker(const ModelSpec& spec, const WeightFolder& weights) : spec_(spec), weights_(weights) {}

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
  Mistakes mistakes_;
};

// Of a tensor of the vocabulary with more rows than the file: those of the file; the others become zero.
Tensor stored_rows(Tensor& tensor, int64_t stored) {
  tensor.narrow(0, stored, tensor.size(0) - stored).zero_();
  return tensor.narrow(0, 0, stored);
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

Model load_model(const std::filesystem::path& folder, const LoadOptions& options, const ModelSpec& wanted,
                 uint64_t seed) {
  const c10::NoGradGuard no_grad;
  const ModelSpec stored = read_spec(folder);
  const WeightFolder weights = WeightFolder::open(folder);
  return with_context(ExitCode::model, folder.string(), [&] {
    const auto matched = match_weights(stored, weights);
    std::map<std::string, const TensorView*> views;
    for (const auto& tensor : expected_tensors(stored)) views.emplace(tensor.name, matched[views.size()]);
    Model model = make_model(wanted, options);
    std::map<const TensorView*, Tensor> destinations;
    visit(model, [&](const std::string& name, Tensor& tensor) {
      const auto found = views.find(name);
      if (found == views.end()) return start_weight(wanted, seed, name, tensor);  // a score head alone
      const TensorView* view = found->second;
      destinations[view] = tensor.sizes().vec() == view->shape ? tensor : stored_rows(tensor, view->shape[0]);
    });
    std::vector<StoredFile> files;  // in file order, so that pages are read once and let go
    for (const auto& file : weights.files()) {
      auto& copies = files.emplace_back(StoredFile{.weights = &file}).copies;
      for (const auto& view : file.tensors()) {
        const auto destination = destinations.find(&view);
        if (destination != destinations.end()) copies.push_back({destination->second, &view});
      }
    }
    copy_stored(files);
    return model;
  });
}

}  // namespace prentice

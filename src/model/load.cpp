#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <map>
#include <set>

#include "core/error.h"
#include "io/safetensors.h"
#include "model/make.h"
#include "model/model.h"

namespace prentice {

namespace {

constexpr std::string_view kHead = "lm_head.weight", kEmbedding = "model.embed_tokens.weight";
constexpr size_t kMostMistakes = 20;

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

std::optional<at::ScalarType> weight_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return at::kFloat;
    case DType::bf16:
      return at::kBFloat16;
    case DType::f16:
      return at::kHalf;
    case DType::f64:
      return at::kDouble;
    default:
      return std::nullopt;
  }
}

// A tied model's stored head that is the embedding once more.
bool repeats_embedding(const TensorView& head, const TensorView* embedding) {
  return embedding && head.dtype == embedding->dtype && head.shape == embedding->shape &&
         std::memcmp(head.bytes.data(), embedding->bytes.data(), head.bytes.size()) == 0;
}

class Checker {
 public:
  Checker(const ModelSpec& spec, const WeightFolder& weights) : spec_(spec), weights_(weights) {}

  // Errors: `model`, all differences between the files and the spec.
  void check() {
    std::set<std::string, std::less<>> expected;
    for (const auto& tensor : expected_tensors(spec_)) {
      expected.insert(tensor.name);
      check_expected(tensor);
    }
    for (const TensorView* view : weights_.tensors()) {
      if (!expected.contains(view->name)) check_extra(*view);
    }
    if (mistakes_.empty()) return;
    if (mistakes_.size() > kMostMistakes) {
      const size_t more = mistakes_.size() - kMostMistakes;
      mistakes_.resize(kMostMistakes);
      mistakes_.push_back({.message = fmt::format("and {} more tensors", more)});
    }
    throw Error(ExitCode::model, mistakes_);
  }

 private:
  void mistake(std::string message, std::string hint = "") {
    mistakes_.push_back({.message = std::move(message), .hint = std::move(hint)});
  }

  void check_expected(const TensorShape& tensor) {
    const TensorView* view = weights_.find(tensor.name);
    if (!view) return mistake(fmt::format("tensor {} is missing", tensor.name));
    if (view->shape != tensor.shape) {
      mistake(fmt::format("tensor {}: expected shape [{}] by config.json, got [{}]", tensor.name,
                          fmt::join(tensor.shape, ", "), fmt::join(view->shape, ", ")));
    }
    if (!weight_type(view->dtype)) {
      mistake(fmt::format("tensor {}: type {} is not supported", tensor.name, dtype_name(view->dtype)),
              "supported: F32, BF16, F16, F64");
    }
  }

  void check_extra(const TensorView& view) {
    for (const auto& pattern : spec_.ignorable_tensors) {
      if (matches(pattern, view.name)) return;
    }
    if (spec_.tied_head && view.name == kHead) {
      if (repeats_embedding(view, weights_.find(kEmbedding))) return;
      return mistake(
          fmt::format("tensor {} differs from {}, but config.json says tie_word_embeddings", kHead, kEmbedding),
          "set tie_word_embeddings to false if the head is a weight of its own");
    }
    mistake(fmt::format("tensor {} is not part of this architecture", view.name));
  }

  const ModelSpec& spec_;
  const WeightFolder& weights_;
  std::vector<Diagnostic> mistakes_;
};

// Converts while copying; the file's bytes are never copied whole.
void fill(Tensor& destination, const TensorView& view) {
  const at::ScalarType type = *weight_type(view.dtype);
  const auto address = reinterpret_cast<uintptr_t>(view.bytes.data());
  if (address % c10::elementSize(type) == 0) {
    auto* data = const_cast<std::byte*>(view.bytes.data());  // only read: the mapping is read-only
    destination.copy_(at::from_blob(data, view.shape, at::TensorOptions(type)));
    return;
  }
  Tensor aligned = at::empty(view.shape, at::TensorOptions(type));
  std::memcpy(aligned.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  destination.copy_(aligned);
}

}  // namespace

void check_weights(const ModelSpec& spec, const WeightFolder& weights) { Checker(spec, weights).check(); }

Model load_model(const std::filesystem::path& folder, const LoadOptions& options) {
  const c10::NoGradGuard no_grad;
  const ModelSpec spec = read_spec(folder);
  const WeightFolder weights = WeightFolder::open(folder);
  return with_context(ExitCode::model, folder.string(), [&] {
    check_weights(spec, weights);
    Model model = make_model(spec, options);
    std::map<std::string, Tensor, std::less<>> destinations;
    visit(model, [&](const std::string& name, Tensor& tensor) { destinations[name] = tensor; });
    for (const auto& file : weights.files()) {  // in file order, so that pages are read once and let go
      for (const auto& view : file.tensors()) {
        const auto destination = destinations.find(view.name);
        if (destination != destinations.end()) fill(destination->second, view);
      }
      file.release_pages();
    }
    return model;
  });
}

}  // namespace prentice

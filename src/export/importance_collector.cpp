#include "export/importance_collector.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/square.h>
#include <ATen/ops/sum.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "model/decoder.h"
#include "model/gguf_names.h"

namespace prentice {

namespace {

constexpr std::string_view kBlocks = "blk.";
// Squares of so many tokens at a time are in memory.
constexpr int64_t kSquaredTokens = 512;

std::string weight_of(const Linear& layer, const ModelSpec& spec) { return gguf_name(layer.name + ".weight", spec); }

// [in] f64
Tensor column_squares(const Tensor& x) {
  Tensor sum;
  for (int64_t first = 0; first < x.size(0); first += kSquaredTokens) {
    const Tensor rows = x.narrow(0, first, std::min(kSquaredTokens, x.size(0) - first)).to(at::kDouble);
    const Tensor part = at::sum(at::square(rows), 0);
    sum = sum.defined() ? sum.add_(part) : part;
  }
  return sum;
}

bool is_block_weight(const std::string& name, const std::vector<int64_t>& shape) {
  return name.starts_with(kBlocks) && name.ends_with(".weight") && shape.size() == 2;
}

[[noreturn]] void refuse(const std::string& what) {
  fail(ExitCode::model, "the importance matrix is of another model: " + what,
       "`prentice imatrix` collects one of this model");
}

}  // namespace

ImportanceCollector::ImportanceCollector(const Model& model) : model_(model) {
  const auto read_by = [&](const std::vector<const Linear*>& layers) {
    for (const auto* layer : layers) first_reader_[weight_of(*layer, model.spec)] = layers[0]->name;
  };
  for (const auto& layer : model.layers) {
    const auto on_projection = [&](const Projection& projection) {
      std::vector<const Linear*> parts;
      for (const auto& part : projection.parts) parts.push_back(&part);
      read_by(parts);
    };
    visit_layer(
        layer, on_projection, [&](const Linear& linear) { read_by({&linear}); }, [](const Norm&) {});
  }
}

void ImportanceCollector::add(const Batch& batch) {
  const c10::NoGradGuard no_grad;
  const auto see = [this](const std::string& reader, const Tensor& x) {
    Tensor& sum = sums_[reader];
    const Tensor squares = column_squares(x);
    sum.defined() ? sum.add_(squares) : sum = squares;
  };
  run_decoder(model_, {.ids = batch.tokens,
                       .host_ids = batch.host_tokens,
                       .rotary = {batch.positions, batch.host_starts},
                       .attend = [&](size_t, const Tensor& q, const Tensor& k, const Tensor& v,
                                     const AttentionOptions& how) { return attention(q, k, v, batch, how); },
                       .linear =
                           [&](const Linear& layer, const Tensor& x) {
                             see(layer.name, x);
                             return linear(layer, x);
                           },
                       .project =
                           [&](const Projection& projection, const Tensor& x) {
                             see(projection.parts[0].name, x);
                             return project(projection, x);
                           }});
  tokens_ += batch.tokens.size(0);
}

std::map<std::string, ImportanceEntry> ImportanceCollector::entries() const {
  std::map<std::string, ImportanceEntry> entries;
  for (const auto& [weight, reader] : first_reader_) {
    const auto found = sums_.find(reader);
    if (found == sums_.end()) continue;
    const Tensor sums = found->second.to(at::kCPU, at::kFloat).contiguous();
    const auto* values = sums.const_data_ptr<float>();
    ImportanceEntry entry{.sums = {values, values + sums.numel()}, .count = static_cast<float>(tokens_)};
    for (const float sum : entry.sums) {
      if (!std::isfinite(sum)) fail(ExitCode::numerical, "what enters " + reader + " is not finite");
    }
    entries.emplace(weight, std::move(entry));
  }
  return entries;
}

void require_importance_of(const ImportanceMatrix& matrix, const ModelSpec& spec) {
  std::map<std::string, int64_t> columns;
  for (const auto& [tensor, shape] : expected_tensors(spec)) {
    const std::string name = gguf_name(tensor, spec);
    if (is_block_weight(name, shape)) columns[name] = shape[1];
  }
  for (const auto& [name, wanted] : columns) {
    const auto found = matrix.entries.find(name);
    if (found == matrix.entries.end()) refuse(name + " has no entry");
    const auto has = static_cast<int64_t>(found->second.sums.size());
    if (has != wanted) refuse(fmt::format("its entry of {} has {} columns, the weight {}", name, has, wanted));
  }
  for (const auto& [name, entry] : matrix.entries) {
    if (name.starts_with(kBlocks) && !columns.contains(name)) refuse(name + " is no weight of this model");
  }
}

std::vector<float> column_importance(const ImportanceMatrix* matrix, const std::string& weight, int64_t columns) {
  if (matrix == nullptr) return {};
  const auto found = matrix->entries.find(weight);
  if (found == matrix->entries.end() || static_cast<int64_t>(found->second.sums.size()) != columns) return {};
  return found->second.means();
}

}  // namespace prentice

// What the tests of this room share: flat batches, tensors of a safetensors file, the mean cross-entropy, distances.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/batch.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace prentice {

inline const std::filesystem::path kGoldenModels = "tests/golden/model";

// nullopt (and the test is skipped by its caller) when the shared data is not there.
inline std::filesystem::path shared_data() {
  const char* folder = std::getenv("PRENTICE_TEST_DATA");
  return folder ? folder : "../shared/data";
}

inline Tensor tensor_of(const TensorView& view) {
  const auto type = view.dtype == DType::f64 ? at::kDouble : view.dtype == DType::i64 ? at::kLong : at::kFloat;
  return at::from_blob(const_cast<std::byte*>(view.bytes.data()), view.shape, at::TensorOptions(type)).clone();
}

inline std::map<std::string, Tensor> read_tensors(const std::filesystem::path& path) {
  const auto file = SafetensorsFile::open(path);
  std::map<std::string, Tensor> tensors;
  for (const auto& view : file.tensors()) tensors[view.name] = tensor_of(view);
  return tensors;
}

inline Batch flat_batch(const std::vector<std::vector<int64_t>>& sequences) {
  Batch batch;
  std::vector<int64_t> tokens, positions, labels;
  std::vector<int32_t> sequence_id, starts = {0};
  std::vector<int64_t> keys;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const auto& ids = sequences[s];
    for (size_t t = 0; t < ids.size(); ++t) {
      tokens.push_back(ids[t]);
      positions.push_back(static_cast<int64_t>(t));
      labels.push_back(t + 1 < ids.size() ? ids[t + 1] : kNoLabel);
      sequence_id.push_back(static_cast<int32_t>(s));
    }
    starts.push_back(static_cast<int32_t>(tokens.size()));
    keys.push_back(static_cast<int64_t>(1000 + s));
    batch.longest = std::max<int64_t>(batch.longest, static_cast<int64_t>(ids.size()));
  }
  batch.tokens = at::tensor(tokens), batch.positions = at::tensor(positions), batch.labels = at::tensor(labels);
  batch.sequence_id = at::tensor(sequence_id), batch.starts = at::tensor(starts), batch.sample_key = at::tensor(keys);
  batch.host_starts.assign(starts.begin(), starts.end());
  return batch;
}

// The sequences that offsets `starts` [S+1] cut out of `tokens` [T].
inline std::vector<std::vector<int64_t>> cut(const Tensor& tokens, const Tensor& starts) {
  std::vector<std::vector<int64_t>> sequences;
  const auto* ids = tokens.const_data_ptr<int64_t>();
  const auto* start = starts.const_data_ptr<int64_t>();
  for (int64_t s = 0; s + 1 < starts.numel(); ++s) sequences.emplace_back(ids + start[s], ids + start[s + 1]);
  return sequences;
}

inline Tensor mean_cross_entropy(const Tensor& logits, const Batch& batch) {
  return at::cross_entropy_loss(logits, batch.labels, {}, at::Reduction::Mean, kNoLabel);
}

inline double relative(const Tensor& found, const Tensor& wanted) {
  const Tensor a = found.detach().to(at::kDouble), b = wanted.detach().to(at::kDouble);
  const double scale = at::linalg_vector_norm(b).item<double>();
  return at::linalg_vector_norm(at::sub(a, b)).item<double>() / (scale > 0 ? scale : 1);
}

inline void require_gradients(Model& model) {
  visit(model, [](const std::string&, Tensor& tensor) { tensor.set_requires_grad(true); });
}

inline std::map<std::string, Tensor> gradients(const Model& model) {
  std::map<std::string, Tensor> found;
  visit(model, [&](const std::string& name, const Tensor& tensor) { found[name] = tensor.grad(); });
  return found;
}

}  // namespace prentice

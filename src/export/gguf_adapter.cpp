#include "export/gguf_adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "adapter/choice.h"
#include "adapter/lora.h"
#include "core/error.h"
#include "export/gguf_features.h"
#include "export/gguf_metadata.h"
#include "io/gguf_values.h"
#include "model/gguf_names.h"
#include "model/make.h"
#include "quant/encode.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

std::span<const float> span_of(const Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

Tensor in_rows_of_gguf(const Tensor& b, const std::string& name, const ModelSpec& spec) {
  const auto order = gguf_row_order(name, spec);
  std::vector<int64_t> rows(static_cast<size_t>(b.size(0)));
  for (size_t row = 0; row < rows.size(); ++row) rows[row] = order(static_cast<int64_t>(row));
  return at::index_select(b, 0, at::tensor(rows));
}

GgufTensorInfo info_of(const std::string& name, int64_t rows, int64_t columns, GgmlType type) {
  if (columns % ggml_type_info(type).block_elements != 0) type = GgmlType::F16;
  return {name, type, {columns, rows}};
}

// The value that most modules share, so that most factors go out as they are.
double common_alpha(const std::vector<PeftFactors>& factors) {
  std::map<double, int> counts;
  for (const auto& entry : factors) ++counts[entry.scale * static_cast<double>(entry.rank)];
  return std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
}

std::vector<GgufEntry> metadata(const ModelSpec& spec, double alpha, const GgufAdapterOptions& options) {
  std::vector<GgufEntry> entries = {
      {"general.architecture", spec.gguf.architecture},
      {"general.type", std::string("adapter")},
      {"general.name", options.name},
      {"adapter.type", std::string("lora")},
      {"adapter.lora.alpha", static_cast<float>(alpha)},
      {"general.file_type", static_cast<uint32_t>(file_type_named(ggml_type_info(options.type).name))},
      {"general.quantization_version", uint32_t{2}}};
  for (const auto& [key, text] : options.origin) entries.push_back({key, text});
  return entries;
}

PeftFolder open_folder(const fs::path& folder, const ModelSpec& spec) {
  return PeftFolder::open(folder, make_model(spec, {.dtype = at::kFloat, .device = at::kMeta}));
}

}  // namespace

bool is_gguf_adapter(const fs::path& file) {
  return gguf_text(GgufReader::open(file), "general.type") == std::optional<std::string>("adapter");
}

void check_gguf_adapter(const Model& model) {
  const ModelSpec& spec = model.spec;
  const bool touches_end = model.embed_lora.has_value() || model.head.lora.has_value();
  bool dora = false;
  visit_loras(model, [&](const std::string&, const Lora& lora) { dora |= lora.magnitude.defined(); });
  throw_if_any(gguf_adapter_mistakes(dora, model.saved.words));
  if (spec.tied_head && touches_end) {
    fail(
        ExitCode::usage,
        "export.gguf_adapter: the model's embedding is its head too, and llama.cpp would put an adapter on one of them "
        "on both",
        "export the merged model: export.gguf=[F16]");
  }
  check_gguf_can_express(spec);
}

void check_gguf_adapter(const fs::path& folder, const ModelSpec& spec) {
  Model shape = make_model(spec, {.dtype = at::kFloat, .device = at::kMeta});
  load_peft(shape, folder);
  check_gguf_adapter(shape);
}

GgufAdapterPlan plan_gguf_adapter(const PeftFolder& folder, const ModelSpec& spec, GgmlType type) {
  GgufAdapterPlan plan{.alpha = common_alpha(folder.factors())};
  for (const auto& factors : folder.factors()) {
    const std::string name = gguf_name(factors.module + ".weight", spec);
    const double extra = factors.scale * static_cast<double>(factors.rank) / plan.alpha;
    const auto a = [view = factors.a, embedding = factors.embedding] {
      const Tensor values = PeftFolder::values(*view).to(at::kFloat);
      return embedding ? values.t().contiguous() : values;  // llama.cpp looks its rows up by token
    };
    const auto b = [view = factors.b, name, extra, &spec] {
      const Tensor values = in_rows_of_gguf(PeftFolder::values(*view), name, spec);
      return (extra == 1 ? values : values.to(at::kDouble) * extra).to(at::kFloat).contiguous();
    };
    const int64_t in = factors.a->shape.at(1), out = factors.b->shape.at(0), rank = factors.rank;
    plan.tensors.push_back(
        {factors.embedding ? info_of(name + ".lora_a", in, rank, type) : info_of(name + ".lora_a", rank, in, type), a});
    plan.tensors.push_back({info_of(name + ".lora_b", out, rank, type), b});
  }
  return plan;
}

void write_gguf_adapter(const fs::path& folder, const ModelSpec& spec, const fs::path& path,
                        const GgufAdapterOptions& options) {
  const c10::NoGradGuard no_grad;
  check_gguf_adapter(folder, spec);
  const PeftFolder adapter = open_folder(folder, spec);
  const GgufAdapterPlan plan = plan_gguf_adapter(adapter, spec, options.type);
  std::vector<GgufTensorInfo> infos;
  for (const auto& tensor : plan.tensors) infos.push_back(tensor.info);
  GgufWriter writer(path, metadata(spec, plan.alpha, options), std::move(infos));
  std::vector<std::byte> bytes;
  for (const auto& tensor : plan.tensors) {
    bytes.clear();
    with_context(ExitCode::model, "tensor " + tensor.info.name,
                 [&] { encode(span_of(tensor.values()), tensor.info.type, bytes); });
    writer.write(tensor.info.name, bytes);
  }
  writer.finish();
}

}  // namespace prentice

#include "export/gguf_model.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "export/gguf_features.h"
#include "export/gguf_tensor_type.h"
#include "export/importance_collector.h"
#include "io/resumable_stream.h"
#include "model/gguf_names.h"
#include "model/gguf_rope.h"
#include "quant/encode.h"

namespace prentice {

namespace {

// Rows from `first` on as GGUF wants them; in `room` where that is not how they are.
std::span<const float> as_gguf(const GgufTensorPlan& plan, int64_t first, int64_t columns,
                               std::span<const float> values, std::vector<float>& room) {
  if (plan.rows_together == 1 && plan.offset == 0) return values;
  room.resize(values.size());
  const auto rows = static_cast<int64_t>(values.size()) / columns;
  for (int64_t row = 0; row < rows; ++row) {
    const auto from = values.subspan((plan.row_order(first + row) - first) * columns, columns);
    std::ranges::transform(from, room.begin() + row * columns, [&](float value) { return value + plan.offset; });
  }
  return room;
}

// Row 1 moves whenever rows move at all, and then within its head.
int64_t rows_together(const std::function<int64_t(int64_t)>& order, const std::vector<int64_t>& shape,
                      const ModelSpec& spec) {
  return !shape.empty() && shape[0] > 1 && order(1) != 1 ? spec.head_dim : 1;
}

double columns_per_rank(const WeightSource& source, const GgufTensorPlan& plan) {
  if (plan.sources.empty() || !source.is_changed(plan.sources[0])) return 1;
  const int64_t columns = row_shape(source.tensors()[plan.sources[0]].shape).columns;
  return static_cast<double>(columns) / static_cast<double>(source.rank_of_change(plan.sources[0]));
}

constexpr int64_t kValuesAtOnce = int64_t{1} << 21;  // 4 MB of bf16 and less of blocks

// Where no adapter is merged, no row hangs on another.
void write_unchanged(const WeightSource& source, size_t index, const GgufTensorPlan& plan,
                     std::vector<std::byte>& bytes, ResumableStream& writer) {
  const auto [rows, columns] = row_shape(source.tensors()[index].shape);
  const int64_t together = plan.rows_together;
  const int64_t step = together * std::max<int64_t>(kValuesAtOnce / (together * columns), 1);
  for (int64_t start = 0; start < rows; start += step) {
    const int64_t count = std::min(step, rows - start);
    bytes.resize(count * encoded_bytes(columns, plan.info.type));
    const auto read = [&, columns = columns](int64_t first, int64_t n, std::span<float> values) {
      source.read_rows(index, start + first, n, values);
      std::vector<float> room;
      const auto wanted = as_gguf(plan, start + first, columns, values, room);
      if (wanted.data() != values.data()) std::ranges::copy(wanted, values.begin());
    };
    with_context(ExitCode::model, "tensor " + plan.info.name, [&, columns = columns] {
      encode_rows(count, columns, together, read, plan.info.type, bytes, plan.importance);
    });
    writer.write(plan.info.name, bytes);
    source.release();  // a large tensor is mapped some rows at a time
  }
}

void write_changed(const WeightSource& source, const GgufTensorPlan& plan, std::vector<std::byte>& bytes,
                   ResumableStream& writer, DeltaSums& sums) {
  const bool in_blocks = ggml_type_info(plan.info.type).block_elements > 1;
  for_each_gguf_change(source, plan, [&](std::span<const float> values, std::span<const float> base) {
    bytes.clear();
    with_context(ExitCode::model, "tensor " + plan.info.name,
                 [&] { encode(values, plan.info.type, bytes, plan.importance); });
    if (in_blocks && !base.empty()) sums.add(delta_sums(values, base, bytes, plan.info.type, plan.importance));
    writer.write(plan.info.name, bytes, note_of(sums));
  });
}

void write_tensor(const WeightSource& source, const GgufTensorPlan& plan, std::vector<std::byte>& bytes,
                  ResumableStream& writer, DeltaSums& sums) {
  const bool changed = std::ranges::any_of(plan.sources, [&](size_t index) { return source.is_changed(index); });
  if (changed || !plan.constants.empty()) return write_changed(source, plan, bytes, writer, sums);
  for (const size_t index : plan.sources) write_unchanged(source, index, plan, bytes, writer);
}

}  // namespace

std::vector<GgufTensorPlan> plan_gguf_tensors(const WeightSource& source, const ModelSpec& spec,
                                              const GgufOptions& options) {
  const MixModel model = mix_model(spec, options.importance != nullptr);
  std::vector<GgufTensorPlan> plans;
  for (auto& [name, values] : rope_factors(spec.ropes.at(global_rope(spec)))) {
    const auto size = static_cast<int64_t>(values.size());
    plans.push_back({.info = {name, GgmlType::F32, {size}}, .constants = std::move(values)});
  }
  std::map<std::string, size_t> planned;
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const auto& [tensor, shape] = source.tensors()[i];
    const std::string name = gguf_name(tensor, spec);
    if (const auto found = planned.find(name); found != planned.end()) {  // the norm of the next head
      GgufTensorPlan& plan = plans[found->second];
      plan.sources.push_back(i);
      plan.info.dims = {shape[0], static_cast<int64_t>(plan.sources.size())};
      continue;
    }
    planned[name] = plans.size();
    GgufTensorPlan plan{.sources = {i}, .row_order = gguf_row_order(name, spec), .offset = gguf_offset(name, spec)};
    plan.info.name = name;
    plan.info.type = gguf_tensor_type(name, shape, mixed_type(options.type, name, model), options.types);
    plan.info.dims = {shape.rbegin(), shape.rend()};
    plan.importance = column_importance(options.importance, name, row_shape(shape).columns);
    plan.rows_together = rows_together(plan.row_order, shape, spec);
    plans.push_back(std::move(plan));
  }
  return plans;
}

ServedTypes served_types(const ModelSpec& spec, FileType type, const std::map<std::string, std::string>& types) {
  const MixModel model = mix_model(spec, false);
  ServedTypes served;
  for (const auto& [tensor, shape] : expected_tensors(spec)) {
    const std::string name = gguf_name(tensor, spec);
    const GgmlType own = gguf_tensor_type(name, shape, mixed_type(type, name, model), types);
    if (own == GgmlType::F32) continue;
    served[tensor] = {.type = own, .rows_together = rows_together(gguf_row_order(name, spec), shape, spec)};
  }
  return served;
}

uint64_t gguf_model_bytes(const ModelSpec& spec, FileType type, const std::map<std::string, std::string>& types,
                          bool has_importance) {
  const MixModel model = mix_model(spec, has_importance);
  uint64_t bytes = 0;
  for (const auto& [tensor, shape] : expected_tensors(spec)) {
    const std::string name = gguf_name(tensor, spec);
    const GgmlType own = gguf_tensor_type(name, shape, mixed_type(type, name, model), types);
    bytes += gguf_tensor_bytes({.name = name, .type = own, .dims = {shape.rbegin(), shape.rend()}});
  }
  return bytes;
}

void for_each_gguf_change(const WeightSource& source, BaseRows& base, const GgufTensorPlan& plan,
                          const UseChange& use) {
  if (!plan.constants.empty()) return use(plan.constants, {});
  std::vector<float> room, base_room;
  for (const size_t index : plan.sources) {
    const int64_t columns = row_shape(source.tensors()[index].shape).columns;
    for_each_block(source, index, plan.rows_together, [&](int64_t first, int64_t rows, std::span<const float> values) {
      const auto before = base.rows(index, first, rows, values);
      use(as_gguf(plan, first, columns, values, room), as_gguf(plan, first, columns, before, base_room));
    });
  }
}

void for_each_gguf_change(const WeightSource& source, const GgufTensorPlan& plan, const UseChange& use) {
  BaseRows base(source, nullptr);
  for_each_gguf_change(source, base, plan, use);
}

void for_each_gguf_block(const WeightSource& source, const GgufTensorPlan& plan,
                         const std::function<void(std::span<const float>)>& use) {
  if (!plan.constants.empty()) return use(plan.constants);
  std::vector<float> room;
  for (const size_t index : plan.sources) {
    const int64_t columns = row_shape(source.tensors()[index].shape).columns;
    for_each_block(source, index, plan.rows_together, [&](int64_t first, int64_t, std::span<const float> values) {
      use(as_gguf(plan, first, columns, values, room));
    });
  }
}

DeltaSurvival write_gguf(const WeightSource& source, const ModelSpec& spec, const Tokenizer& tokenizer,
                         const std::filesystem::path& path, const GgufOptions& options, const ResumeOptions& resume) {
  check_gguf_can_express(spec);
  if (options.importance != nullptr) require_importance_of(*options.importance, spec);
  const auto plans = plan_gguf_tensors(source, spec, options);
  std::vector<GgufTensorInfo> infos;
  for (const auto& plan : plans) infos.push_back(plan.info);
  ResumableStream writer(path, gguf_layout(gguf_metadata(spec, tokenizer, options), infos), {resume.log, resume.key});
  resume.tell(writer.kept(), plans.size());
  DeltaSurvival survival;
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < plans.size(); ++i) {
    const GgufTensorPlan& plan = plans[i];
    TensorSurvival tensor{
        .tensor = plan.info.name, .type = plan.info.type, .columns_per_rank = columns_per_rank(source, plan)};
    if (i < writer.kept()) {
      tensor.sums = sums_of(writer.note(i));
    } else {
      write_tensor(source, plan, bytes, writer, tensor.sums);
    }
    if (tensor.sums.update > 0) survival.tensors.push_back(std::move(tensor));
  }
  writer.finish();
  return survival;
}

}  // namespace prentice

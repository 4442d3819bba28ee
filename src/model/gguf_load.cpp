#include "model/gguf_load.h"

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
#include "core/parallel.h"
#include "model/gguf_keys.h"
#include "model/gguf_names.h"
#include "model/gguf_spec.h"
#include "model/make.h"
#include "model/stored_nf4.h"
#include "quant/encode.h"
#include "quant/gguf_blocks.h"

namespace prentice {

namespace {

constexpr const char* kReadTypes =
    "supported: F32, F16, BF16, and matrices in Q8_0, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K, Q5_1, Q5_0, Q4_1, Q4_0";

std::vector<int64_t> torch_shape(const GgufTensorView& view) { return {view.dims.rbegin(), view.dims.rend()}; }

class Matcher {
 public:
  Matcher(const ModelSpec& spec, const GgufReader& file) : spec_(spec), file_(file) {}

  std::vector<GgufTensor> match() {
    const auto expected = expected_tensors(spec_);
    for (const auto& tensor : expected) ++of_name_[gguf_name(tensor.name, spec_)];
    std::vector<GgufTensor> found;
    for (const auto& tensor : expected) found.push_back(match(tensor));
    for (const auto& tensor : file_.tensors()) {
      if (!used_.contains(&tensor) && !is_factor(tensor.name)) {
        mistakes_.add(fmt::format("tensor {} is not part of this architecture", tensor.name));
      }
    }
    mistakes_.throw_if_any(ExitCode::model);
    return found;
  }

 private:
  static bool is_factor(std::string_view name) {
    return name == kGgufRopeDivisors || name == kGgufLongFactors || name == kGgufShortFactors;
  }

  GgufTensor match(const TensorShape& tensor) {
    GgufTensor found{
        .name = tensor.name, .shape = tensor.shape, .gguf_name = gguf_name(tensor.name, spec_), .rows = {}};
    std::vector<int64_t> wanted = tensor.shape;
    found.rows = {.view = file_.find_tensor(found.gguf_name), .count = tensor.shape[0]};
    if (const int64_t heads = of_name_.at(found.gguf_name); heads > 1) {  // the norms of all heads
      found.rows.first = tensor.shape[0] * seen_[found.gguf_name]++;
      wanted.insert(wanted.begin(), heads);
    }
    if (found.rows.view == nullptr) find_fused(found, wanted);
    const GgufTensorView* view = found.rows.view;
    if (view == nullptr) {
      mistakes_.add(fmt::format("tensor {} is missing", found.gguf_name));
      return found;
    }
    used_.insert(view);
    found.stays_in_blocks = tensor.shape.size() == 2 && is_held_in_blocks(view->type);
    if (torch_shape(*view) != wanted) {
      mistakes_.add(fmt::format("tensor {}: expected shape [{}], got [{}]", view->name, fmt::join(wanted, ", "),
                                fmt::join(torch_shape(*view), ", ")));
    } else if (!is_float(view->type) && !found.stays_in_blocks) {
      mistakes_.add(fmt::format("tensor {}: type {} is not read", view->name, ggml_type_info(view->type).name),
                    kReadTypes);
    }
    return found;
  }

  // q, k and v under each other, as some writers have them for every architecture.
  void find_fused(GgufTensor& found, std::vector<int64_t>& wanted) const {
    constexpr std::string_view kParts[] = {".attn_q.", ".attn_k.", ".attn_v."};
    const int64_t queries = spec_.heads * spec_.head_dim, keys = spec_.kv_heads * spec_.head_dim;
    const int64_t begins[] = {0, queries, queries + keys};
    for (size_t i = 0; i < std::size(kParts); ++i) {
      const size_t at = found.gguf_name.find(kParts[i]);
      if (at == std::string::npos) continue;
      std::string fused = found.gguf_name;
      fused.replace(at, kParts[i].size(), ".attn_qkv.");
      found.rows.view = file_.find_tensor(fused);
      found.rows.first = begins[i];
      wanted[0] = queries + 2 * keys;
    }
  }

  const ModelSpec& spec_;
  const GgufReader& file_;
  std::map<std::string, int64_t> of_name_, seen_;
  std::set<const GgufTensorView*> used_;
  Mistakes mistakes_;
};

// A vector has rows of one element.
int64_t columns_of(const GgufTensor& tensor) { return tensor.shape.size() == 2 ? tensor.shape[1] : 1; }

std::span<const std::byte> row_bytes(const GgufTensor& tensor, int64_t first, int64_t count) {
  const int64_t bytes = gguf_row_bytes(columns_of(tensor), tensor.rows.view->type);
  return tensor.rows.view->bytes.subspan(static_cast<size_t>((tensor.rows.first + first) * bytes),
                                         static_cast<size_t>(count * bytes));
}

// The same bytes, rows in the model's order.
void take_blocks(const GgufTensor& tensor, const ModelSpec& spec, GgufBlocks& destination) {
  const auto order = gguf_row_order(tensor.gguf_name, spec);
  Tensor held = destination.bytes.is_cpu() ? destination.bytes
                                           : at::empty(destination.bytes.sizes(), at::TensorOptions(at::kByte));
  auto* to = static_cast<std::byte*>(held.mutable_data_ptr());
  const auto from = row_bytes(tensor, 0, tensor.rows.count);
  const int64_t bytes = held.size(1);
  at::parallel_for(0, held.size(0), std::max<int64_t>(1, (1 << 18) / std::max<int64_t>(bytes, 1)),
                   [&](int64_t row, int64_t end) {
                     for (; row < end; ++row) std::memcpy(to + order(row) * bytes, from.data() + row * bytes, bytes);
                   });
  if (!held.is_same(destination.bytes)) destination.bytes.copy_(held);
}

}  // namespace

std::vector<GgufTensor> match_gguf(const ModelSpec& spec, const GgufReader& file) {
  return with_context(ExitCode::model, file.path().string(), [&] { return Matcher(spec, file).match(); });
}

void copy_gguf_values(const GgufTensor& tensor, const ModelSpec& spec, const Tensor& destination, int64_t start) {
  constexpr int64_t kValues = int64_t{1} << 22;
  const auto order = gguf_row_order(tensor.gguf_name, spec);
  const float offset = gguf_offset(tensor.gguf_name, spec);
  const int64_t columns = columns_of(tensor), rows = std::min(tensor.rows.count - start, destination.size(0));
  const int64_t step = spec.head_dim * std::max<int64_t>(1, kValues / (spec.head_dim * columns));  // rows move in heads
  std::vector<float> values;
  for (int64_t first = 0; first < rows; first += step) {
    const int64_t count = std::min(step, rows - first);
    values.resize(static_cast<size_t>(count * columns));
    const auto bytes = row_bytes(tensor, start + first, count);
    const std::vector<std::byte> aligned(bytes.begin(), bytes.end());  // a file may place data anywhere
    decode(aligned, tensor.rows.view->type, values);
    const Tensor ordered = at::empty({count, columns}, at::TensorOptions(at::kFloat));
    auto* to = ordered.mutable_data_ptr<float>();
    for (int64_t row = 0; row < count; ++row) {
      const float* from = values.data() + row * columns;
      std::transform(from, from + columns, to + (order(start + first + row) - start - first) * columns,
                     [&](float value) { return value - offset; });
    }
    destination.narrow(0, first, count).copy_(ordered.view(destination.narrow(0, first, count).sizes()));
  }
}

Model load_gguf(const std::filesystem::path& path, const LoadOptions& any_options, const ModelSpec& wanted,
                uint64_t seed) {
  const c10::NoGradGuard no_grad;
  const GgufReader file = GgufReader::open(path);
  const ModelSpec stored = read_gguf_spec(file);
  if (wanted.vocab != stored.vocab) {
    fail(ExitCode::usage, fmt::format("{}: its vocabulary has {} rows and cannot grow to {}", path.string(),
                                      stored.vocab, wanted.vocab));
  }
  LoadOptions options = any_options;
  options.quantize = stored_quantize(stored);
  Model model = make_model(wanted, options);
  std::map<std::string, Tensor> dense;
  std::map<std::string, GgufBlocks*> blocks;
  visit(model, [&](const std::string& name, Tensor& tensor) { dense[name] = tensor; });
  visit_linears(model, [&](Linear& linear) {
    if (auto* held = std::get_if<GgufBlocks>(&linear.weight)) blocks[linear.name + ".weight"] = held;
  });
  if (model.embed_blocks) blocks[stored.names.embed + ".weight"] = &*model.embed_blocks;
  for (const auto& tensor : match_gguf(stored, file)) {
    if (const auto held = blocks.find(tensor.name); held != blocks.end()) {
      take_blocks(tensor, stored, *held->second);
    } else if (const auto found = dense.find(tensor.name); found != dense.end()) {
      copy_gguf_values(tensor, stored, found->second);
      dense.erase(found);
    }
    file.release_pages();
  }
  for (auto& [name, tensor] : dense) start_weight(wanted, seed, name, tensor);  // a score head alone
  return model;
}

}  // namespace prentice

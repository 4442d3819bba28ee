// GGUF files as models: a file written by hand is read back, and every way of being wrong is told by name.
#include "io/gguf.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "model/gguf_names.h"
#include "model/gguf_rope.h"
#include "model/model.h"
#include "quant/encode.h"
#include "temp_dir.h"

namespace prentice {
namespace {

using toy::TempDir;

struct Written {
  GgufTensorInfo info;
  std::vector<float> values;
};

// What a file holds before it is written; tests change it.
struct Draft {
  std::vector<GgufEntry> metadata;
  std::vector<Written> tensors;

  GgufEntry& entry(const std::string& key) { return *std::ranges::find(metadata, key, &GgufEntry::key); }
  void remove(const std::string& key) {
    std::erase_if(metadata, [&](const auto& entry) { return entry.key == key; });
  }
  Written& tensor(const std::string& name) {
    return *std::ranges::find_if(tensors, [&](const auto& written) { return written.info.name == name; });
  }
};

constexpr uint32_t kHidden = 64, kHeads = 4, kKeyHeads = 2, kWide = 96, kRows = 40, kLayers = 2;

Draft draft() {
  Draft made;
  const auto number = [&](const char* key, uint32_t value) {
    made.metadata.push_back({std::string("llama.") + key, value});
  };
  made.metadata.push_back({"general.architecture", std::string("llama")});
  number("context_length", 128), number("embedding_length", kHidden), number("block_count", kLayers);
  number("feed_forward_length", kWide), number("attention.head_count", kHeads);
  number("attention.head_count_kv", kKeyHeads);
  made.metadata.push_back({"llama.attention.layer_norm_rms_epsilon", 1e-5f});
  made.metadata.push_back({"tokenizer.ggml.eos_token_id", uint32_t{7}});
  const auto add = [&](const std::string& name, std::vector<int64_t> dims, GgmlType type) {
    int64_t count = 1;
    for (const int64_t size : dims) count *= size;
    const Tensor drawn = at::randn({count});
    const float* values = drawn.const_data_ptr<float>();
    made.tensors.push_back({{name + ".weight", type, std::move(dims)}, {values, values + count}});
  };
  add("token_embd", {kHidden, kRows}, GgmlType::Q4_0);
  for (uint32_t i = 0; i < kLayers; ++i) {
    const auto layer = [&](const char* name, std::vector<int64_t> dims, GgmlType type) {
      add(fmt::format("blk.{}.{}", i, name), std::move(dims), type);
    };
    layer("attn_q", {kHidden, kHidden}, GgmlType::Q8_0), layer("attn_k", {kHidden, kHidden / 2}, GgmlType::F16);
    layer("attn_v", {kHidden, kHidden / 2}, GgmlType::Q5_1), layer("attn_output", {kHidden, kHidden}, GgmlType::F32);
    layer("ffn_gate", {kHidden, kWide}, GgmlType::Q4_1), layer("ffn_up", {kHidden, kWide}, GgmlType::Q4_0);
    layer("ffn_down", {kWide, kHidden}, GgmlType::Q5_0);
    layer("attn_norm", {kHidden}, GgmlType::F32), layer("ffn_norm", {kHidden}, GgmlType::F32);
  }
  add("output_norm", {kHidden}, GgmlType::F32);
  return made;
}

std::filesystem::path write(const TempDir& folder, const Draft& made) {
  const auto path = folder.path() / "model.gguf";
  std::vector<GgufTensorInfo> infos;
  for (const auto& tensor : made.tensors) infos.push_back(tensor.info);
  GgufWriter writer(path, made.metadata, infos);
  for (const auto& [info, values] : made.tensors) {
    std::vector<std::byte> bytes;
    if (info.type == GgmlType::IQ4_NL) {
      bytes.resize(gguf_tensor_bytes(info));
    } else {
      encode(values, info.type, bytes);
    }
    writer.write(info.name, bytes);
  }
  writer.finish();
  return path;
}

Model load(const std::filesystem::path& path) { return load_model(path, {.dtype = at::kFloat, .device = at::kCPU}); }

// The values of a written tensor as its type has them, [rows, columns].
Tensor stored(const Written& tensor) {
  std::vector<std::byte> bytes;
  encode(tensor.values, tensor.info.type, bytes);
  Tensor out = at::empty({tensor.info.dims[1], tensor.info.dims[0]}, at::TensorOptions(at::kFloat));
  decode(bytes, tensor.info.type, {out.mutable_data_ptr<float>(), static_cast<size_t>(out.numel())});
  return out;
}

TEST(GgufModel, EveryTypeStandsForItsValuesAndRowsOfHeadsAreBackInOrder) {
  const TempDir folder;
  Draft made = draft();
  const Model model = load(write(folder, made));
  EXPECT_TRUE(model.spec.tied_head);
  EXPECT_FALSE(model.embed.defined());
  EXPECT_TRUE(model.embed_blocks->bytes.is_same(std::get<GgufBlocks>(model.head.weight).bytes));
  EXPECT_EQ(model.spec.eos_ids, std::vector<int32_t>{7});
  size_t blocks = 0;
  visit_linears(model, [&](const Linear& linear) {
    if (&linear == &model.head) return;
    const std::string name = gguf_name(linear.name + ".weight", model.spec);
    const Tensor rows = stored(made.tensor(name));
    Tensor wanted = at::empty_like(rows);
    for (int64_t row = 0; row < rows.size(0); ++row) {  // in the file pairs that rotate together are neighbours
      const bool rotates = name.find("attn_q.") != name.npos || name.find("attn_k.") != name.npos;
      const int64_t in_head = row % 16, to = rotates ? row - in_head + in_head / 2 + in_head % 2 * 8 : row;
      wanted[to].copy_(rows[row]);
    }
    EXPECT_TRUE(at::equal(weight_values(linear), wanted)) << name;
    blocks += is_quantized(linear);
  });
  EXPECT_EQ(blocks, 5 * kLayers);  // k is F16 and o F32: they are held as any dense weight
}

struct Fault {
  const char* what;
  std::function<void(Draft&)> plant;
  const char* told;
};

TEST(GgufModel, WhatIsWrongIsToldByName) {
  const Fault faults[] = {
      {"no architecture", [](Draft& d) { d.remove("general.architecture"); }, "general.architecture is missing"},
      {"another architecture", [](Draft& d) { d.entry("general.architecture").value = std::string("mamba"); },
       "mamba is not supported"},
      {"no size", [](Draft& d) { d.remove("llama.block_count"); }, "llama.block_count is missing"},
      {"a size of another kind", [](Draft& d) { d.entry("llama.block_count").value = 2.0f; },
       "expected a whole number"},
      {"layers that are not there", [](Draft& d) { d.entry("llama.block_count").value = uint32_t{4000000}; },
       "blk.2.attn_norm.weight is missing"},
      {"no epsilon", [](Draft& d) { d.remove("llama.attention.layer_norm_rms_epsilon"); }, "rms_epsilon is missing"},
      {"no heads", [](Draft& d) { d.entry("llama.attention.head_count").value = uint32_t{0}; }, "attention.head_count"},
      {"heads that do not fit", [](Draft& d) { d.entry("llama.attention.head_count").value = uint32_t{3}; },
       "dimension_count"},
      {"experts",
       [](Draft& d) {
         d.metadata.push_back({"llama.expert_count", uint32_t{8}});
       },
       "llama.expert_count"},
      {"an unknown scaling",
       [](Draft& d) {
         d.metadata.push_back({"llama.rope.scaling.type", std::string("new")});
       },
       "scaling.type: new"},
      {"a rotation of a part",
       [](Draft& d) {
         d.metadata.push_back({"llama.rope.dimension_count", uint32_t{8}});
       },
       "rope.dimension_count"},
      {"a tensor too many",
       [](Draft& d) {
         d.tensors.push_back({{"blk.0.extra.weight", GgmlType::F32, {4}}, {1, 2, 3, 4}});
       },
       "blk.0.extra.weight is not part"},
      {"a tensor too few", [](Draft& d) { d.tensors.pop_back(); }, "output_norm.weight is missing"},
      {"another shape",
       [](Draft& d) {
         d.tensor("blk.1.ffn_up.weight").info.dims = {kWide, kHidden};
       },
       "blk.1.ffn_up.weight: expected shape"},
      {"a type that is not read", [](Draft& d) { d.tensor("blk.0.ffn_up.weight").info.type = GgmlType::IQ4_NL; },
       "type IQ4_NL is not read"},
      {"an adapter",
       [](Draft& d) {
         d.metadata.push_back({"general.type", std::string("adapter")});
       },
       "'adapter'"},
      {"a part of a model",
       [](Draft& d) {
         d.metadata.push_back({"split.count", uint16_t{2}});
       },
       "split over several"},
  };
  for (const auto& [what, plant, told] : faults) {
    const TempDir folder;
    Draft made = draft();
    plant(made);
    const auto path = write(folder, made);
    try {
      load(path);
      ADD_FAILURE() << what << ": taken as a model";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model) << what;
      EXPECT_NE(std::string(error.what()).find(told), std::string::npos) << what << ": " << error.what();
    }
  }
}

TEST(GgufModel, FusedQueriesKeysAndValuesAreTakenApart) {
  const TempDir one, other;
  Draft made = draft();
  for (auto& tensor : made.tensors) {
    if (tensor.info.name.find(".attn_") != std::string::npos && tensor.info.dims.size() == 2)
      tensor.info.type = GgmlType::Q8_0;
  }
  const Model apart = load(write(one, made));
  for (uint32_t i = 0; i < kLayers; ++i) {
    Written fused{{fmt::format("blk.{}.attn_qkv.weight", i), GgmlType::Q8_0, {kHidden, 2 * kHidden}}, {}};
    for (const char* part : {"attn_q", "attn_k", "attn_v"}) {
      const std::string name = fmt::format("blk.{}.{}.weight", i, part);
      const auto& values = made.tensor(name).values;
      fused.values.insert(fused.values.end(), values.begin(), values.end());
      std::erase_if(made.tensors, [&](const auto& tensor) { return tensor.info.name == name; });
    }
    made.tensors.push_back(std::move(fused));
  }
  const Model together = load(write(other, made));
  for (size_t i = 0; i < apart.layers.size(); ++i) {
    for (size_t part = 0; part < 3; ++part) {
      EXPECT_TRUE(at::equal(weight_values(apart.layers[i].qkv.parts[part]).clone(),
                            weight_values(together.layers[i].qkv.parts[part])));
    }
  }
}

// Divisors as a published scaling makes them are that scaling again; others stand as they are.
TEST(GgufModel, DivisorsOfTheRotationAreReadBack) {
  const RopeSpec published{
      .kind = RopeKind::llama3, .theta = 500000, .rotary_dim = 16, .factor = 8, .original_max_positions = 8192};
  std::vector<float> own(8, 1.5f);
  for (const bool known : {true, false}) {
    const TempDir folder;
    Draft made = draft();
    made.metadata.push_back({"llama.rope.freq_base", 500000.0f});
    made.tensors.push_back({{"rope_freqs.weight", GgmlType::F32, {8}}, known ? rope_divisors(published) : own});
    const RopeSpec found = read_spec(write(folder, made)).ropes.at(0);
    EXPECT_EQ(found.kind, known ? RopeKind::llama3 : RopeKind::longrope);
    if (known) {
      EXPECT_EQ(found.original_max_positions, 8192);
      EXPECT_FLOAT_EQ(found.factor, 8);
    } else {
      EXPECT_EQ(found.long_factors, std::vector<double>(8, 1.5));
      EXPECT_EQ(found.attention_factor, 1);
    }
  }
}

}  // namespace
}  // namespace prentice

// Loading with exact names and shapes, and random weights.
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "core/error.h"
#include "model/golden.h"
#include "model/model.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

// A model folder made of a golden one: its tensors after `change`, in one file or in two shards.
class ModelFolder {
 public:
  using Tensors = std::map<std::string, Tensor>;
  ModelFolder(const char* golden, const std::function<void(Tensors&)>& change, bool sharded = false)
      : path_(fs::temp_directory_path() / ("prentice_load_" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
    fs::copy(kGoldenModels / golden / "config.json", path_ / "config.json");
    Tensors tensors = read_tensors(kGoldenModels / golden / "model.safetensors");
    change(tensors);
    std::vector<TensorInfo> infos;
    for (const auto& [name, tensor] : tensors) infos.push_back({name, dtype_of(tensor), tensor.sizes().vec()});
    const ShardPlan plan = plan_shards(infos, sharded ? 12000 : kMaxShardBytes);
    for (size_t f = 0; f < plan.files.size(); ++f) write(plan.files[f], plan.tensors[f], infos, tensors);
    if (plan.files.size() > 1) {
      std::ofstream(path_ / "model.safetensors.index.json") << shard_index_json(plan, infos);
    }
    files = plan.files.size();
  }
  ~ModelFolder() { fs::remove_all(path_); }

  Model load(c10::ScalarType type = at::kFloat) const { return load_model(path_, {.dtype = type, .device = at::kCPU}); }
  size_t files = 0;

 private:
  static DType dtype_of(const Tensor& tensor) {
    return tensor.scalar_type() == at::kBFloat16 ? DType::bf16
           : tensor.scalar_type() == at::kHalf   ? DType::f16
           : tensor.scalar_type() == at::kLong   ? DType::i64
                                                 : DType::f32;
  }
  void write(const std::string& file, const std::vector<size_t>& which, const std::vector<TensorInfo>& infos,
             const Tensors& tensors) const {
    std::vector<TensorInfo> listed;
    for (size_t i : which) listed.push_back(infos[i]);
    SafetensorsWriter writer(path_ / file, listed);
    for (const auto& info : listed) {
      const Tensor tensor = tensors.at(info.name).contiguous();
      writer.write(info.name, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
    }
    writer.finish();
  }
  fs::path path_;
};

void nothing(ModelFolder::Tensors&) {}

void expect_tensors_of(const Model& model, const char* golden) {
  const auto wanted = read_tensors(kGoldenModels / golden / "model.safetensors");
  size_t seen = 0;
  visit(model, [&](const std::string& name, const Tensor& tensor) {
    ++seen;
    ASSERT_TRUE(wanted.contains(name)) << name;
    EXPECT_TRUE(at::equal(tensor, wanted.at(name))) << name;
  });
  EXPECT_EQ(seen, wanted.size());
}

TEST(Load, OneFileAndShardsGiveTheSameModel) {
  for (const char* golden : {"llama_biased_llama3", "llama_tied_linear", "mistral_window", "qwen2_window"}) {
    expect_tensors_of(ModelFolder(golden, nothing).load(), golden);
    const ModelFolder shards(golden, nothing, /*sharded=*/true);
    EXPECT_GT(shards.files, 1u);
    expect_tensors_of(shards.load(), golden);
  }
}

TEST(Load, ConvertsToTheTypeOfTheRun) {
  const ModelFolder folder("mistral_window", [](auto& tensors) {
    for (auto& [name, tensor] : tensors)
      tensor = tensor.to(name.find("q_proj") != name.npos ? at::kHalf : at::kBFloat16);
  });
  visit(folder.load(),
        [](const std::string& name, const Tensor& t) { EXPECT_EQ(t.scalar_type(), at::kFloat) << name; });
  const Model model = folder.load(at::kBFloat16);
  const auto wanted = read_tensors(kGoldenModels / "mistral_window/model.safetensors");
  EXPECT_TRUE(at::equal(model.embed, wanted.at("model.embed_tokens.weight").to(at::kBFloat16)));
}

TEST(Load, ATiedHeadIsTheEmbedding) {
  const Model model = ModelFolder("qwen2_window", nothing).load();
  EXPECT_TRUE(dense_weight(model.head).is_same(model.embed));
}

TEST(Load, ARepeatedHeadOfATiedModelIsIgnored) {
  const ModelFolder folder(
      "qwen2_window", [](auto& tensors) { tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone(); });
  expect_tensors_of(folder.load(), "qwen2_window");
}

TEST(Load, TensorsThatAreNoWeightsAreIgnored) {
  const ModelFolder folder("llama_tied_linear", [](auto& tensors) {
    tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = at::zeros({2});
  });
  expect_tensors_of(folder.load(), "llama_tied_linear");
}

TEST(Load, PartsOfAProjectionShareStorage) {
  const Model model = ModelFolder("llama_biased_llama3", nothing).load();
  for (const auto& layer : model.layers) {
    for (const auto& part : layer.qkv.parts) EXPECT_TRUE(dense_weight(part).is_alias_of(layer.qkv.joined));
    for (const auto& part : layer.gate_up.parts) EXPECT_TRUE(dense_weight(part).is_alias_of(layer.gate_up.joined));
  }
}

struct BadWeights {
  const char* what;
  const char* golden;
  std::function<void(ModelFolder::Tensors&)> change;
  std::vector<std::string> messages;  // a part of each diagnostic, in order
};

TEST(Load, DifferencesFromTheSpecAreAllNamed) {
  const BadWeights cases[] = {
      {"missing",
       "mistral_window",
       [](auto& t) { t.erase("model.norm.weight"); },
       {"tensor model.norm.weight is missing"}},
      {"extra",
       "mistral_window",
       [](auto& t) { t["model.layers.0.self_attn.q_proj.bias"] = at::zeros({16}); },
       {"tensor model.layers.0.self_attn.q_proj.bias is not part of this architecture"}},
      {"misshapen",
       "mistral_window",
       [](auto& t) {
         t["lm_head.weight"] = at::zeros({47, 16});
       },
       {"tensor lm_head.weight: expected shape [48, 16] by config.json, got [47, 16]"}},
      {"of a type that is no weight",
       "mistral_window",
       [](auto& t) { t["model.norm.weight"] = at::zeros({16}, at::kLong); },
       {"tensor model.norm.weight: type I64 is not supported"}},
      {"a missing layer",
       "mistral_window",
       [](auto& t) {
         std::erase_if(t, [](const auto& entry) { return entry.first.find("layers.1.mlp") != std::string::npos; });
       },
       {"tensor model.layers.1.mlp.gate_proj.weight is missing", "tensor model.layers.1.mlp.up_proj.weight is missing",
        "tensor model.layers.1.mlp.down_proj.weight is missing"}},
      {"a head that is not the embedding",
       "qwen2_window",
       [](auto& t) {
         t["lm_head.weight"] = at::zeros({48, 16});
       },
       {"tensor lm_head.weight differs from model.embed_tokens.weight, but config.json says tie_word_embeddings"}},
      {"all kinds at once",
       "qwen2_window",
       [](auto& t) {
         t.erase("model.norm.weight");
         t["model.embed_tokens.weight"] = at::zeros({16, 48});
         t["surprise"] = at::zeros({1});
       },
       {"model.embed_tokens.weight: expected shape", "model.norm.weight is missing", "surprise is not part"}},
  };
  for (const auto& bad : cases) {
    const ModelFolder folder(bad.golden, bad.change);
    try {
      folder.load();
      ADD_FAILURE() << bad.what << ": accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model) << bad.what;
      ASSERT_EQ(error.diagnostics().size(), bad.messages.size()) << bad.what << ": " << error.what();
      for (size_t i = 0; i < bad.messages.size(); ++i) {
        EXPECT_NE(error.diagnostics()[i].message.find(bad.messages[i]), std::string::npos)
            << bad.what << ": " << error.diagnostics()[i].message;
      }
    }
  }
}

ModelSpec small_spec() { return read_spec(fs::path(kGoldenModels / "llama_biased_llama3")); }

TEST(RandomModel, IsAFunctionOfSeedAndName) {
  const LoadOptions options{.dtype = at::kFloat, .device = at::kCPU};
  const Model a = random_model(small_spec(), 1, options), b = random_model(small_spec(), 1, options);
  const Model c = random_model(small_spec(), 2, options);
  EXPECT_TRUE(at::equal(a.embed, b.embed));
  EXPECT_FALSE(at::equal(a.embed, c.embed));
  EXPECT_FALSE(at::equal(dense_weight(a.layers[0].o), dense_weight(a.layers[1].o)));
}

TEST(RandomModel, HasTheDeclaredSpreadOnesAndZeros) {
  ModelSpec spec = small_spec();
  spec.vocab = 20000;
  const Model model = random_model(spec, 3, {.dtype = at::kFloat, .device = at::kCPU});
  EXPECT_NEAR(model.embed.std().item<double>(), 0.02, 2e-4);
  EXPECT_NEAR(model.embed.mean().item<double>(), 0, 2e-4);
  EXPECT_EQ(model.final_norm.weight.sum().item<double>(), 16);
  EXPECT_EQ(model.layers[0].qkv.parts[0].bias.abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace prentice

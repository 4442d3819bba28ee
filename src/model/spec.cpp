#include "model/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/gguf.h"
#include "model/config_reader.h"
#include "model/family.h"
#include "model/gguf_spec.h"
#include "model/rope_spec.h"
#include "model/stored_nf4.h"

namespace prentice {

namespace {

// Above any model that exists; keeps every product of two sizes and the layer count within int64.
constexpr int64_t kMaxWidth = int64_t{1} << 22, kMaxVocabulary = int64_t{1} << 26, kMaxLayers = 4096,
                  kMaxPositions = int64_t{1} << 31;

// How sizes must fit together; said only of sizes that are good alone.
void check_heads(ConfigReader& reader, const ModelSpec& spec, bool own_head_dim) {
  if (spec.heads % spec.kv_heads != 0) {
    reader.mistake("num_key_value_heads",
                   fmt::format("must divide num_attention_heads {}, got {}", spec.heads, spec.kv_heads));
  }
  if (!own_head_dim && spec.hidden % spec.heads != 0) {
    reader.mistake("num_attention_heads", fmt::format("must divide hidden_size {}, got {}", spec.hidden, spec.heads));
  } else if (spec.head_dim * spec.heads > kMaxWidth) {
    reader.mistake("head_dim",
                   fmt::format("{} for {} heads is above the limit of {}", spec.head_dim, spec.heads, kMaxWidth));
  } else if (spec.head_dim % 2 != 0) {
    reader.mistake("head_dim", fmt::format("must be even for rotary positions, got {}", spec.head_dim));
  }
}

void read_shape(ConfigReader& reader, ModelSpec& spec) {
  spec.hidden = reader.size("hidden_size", kMaxWidth);
  spec.layers = reader.size("num_hidden_layers", kMaxLayers);
  spec.heads = reader.size("num_attention_heads", kMaxWidth);
  spec.feed_forward = reader.size("intermediate_size", kMaxWidth);
  spec.vocab = reader.size("vocab_size", kMaxVocabulary);
  spec.kv_heads = reader.optional_size("num_key_value_heads", kMaxWidth).value_or(spec.heads);
  const auto head_dim = reader.optional_size("head_dim", kMaxWidth);
  spec.head_dim = head_dim.value_or(spec.hidden / spec.heads);
  spec.max_positions = reader.size("max_position_embeddings", kMaxPositions);
  if (reader.clean()) check_heads(reader, spec, head_dim.has_value());
}

void read_activation(ConfigReader& reader, const Family& family, ModelSpec& spec) {
  const std::pair<const char*, Activation> known[] = {{"silu", Activation::silu},
                                                      {"swish", Activation::silu},
                                                      {"gelu", Activation::gelu},
                                                      {"gelu_new", Activation::gelu_tanh},
                                                      {"gelu_pytorch_tanh", Activation::gelu_tanh}};
  const Json* value = reader.find(family.activation);
  if (!value || value->is_null()) return;
  if (value->is_string()) {
    const auto alias = family.activation_aliases.find(value->as_string());
    const std::string& word = alias == family.activation_aliases.end() ? value->as_string() : alias->second;
    for (const auto& [name, activation] : known) {
      if (word == name) return void(spec.activation = activation);
    }
  }
  reader.mistake(family.activation, fmt::format("{} is not supported", quoted(*value)),
                 "supported: silu, gelu, gelu_new, gelu_pytorch_tanh");
}

// What changes the arithmetic and is not built.
void refuse_unsupported(ConfigReader& reader, const Family& family) {
  for (const auto& [key, wanted] : family.required) {
    const Json* value = reader.find(key);
    if (!value || value->is_null() || value->dump() == wanted.dump()) continue;
    reader.mistake(key, fmt::format("{} is not supported for this architecture", quoted(*value)));
  }
  const Json* quantization = reader.find("quantization_config");
  if (quantization && !quantization->is_null()) {
    if (const std::string fault = unsupported_quantization(*quantization); !fault.empty()) {
      reader.mistake("quantization_config", fault, "start from the unquantized model");
    }
  }
}

// Layers that `layer_types` marks as windowed; nullopt when the key is absent.
std::optional<std::vector<bool>> read_layer_types(ConfigReader& reader, int64_t layers) {
  const Json* types = reader.find("layer_types");
  if (!types || types->is_null()) return std::nullopt;
  std::vector<bool> windowed;
  if (types->is_array()) {
    for (const Json& type : types->as_array()) {
      const std::string name = type.is_string() ? type.as_string() : quoted(type);
      if (name != "full_attention" && name != "sliding_attention") {
        reader.mistake("layer_types", name + " is not supported", "supported: full_attention, sliding_attention");
      }
      windowed.push_back(name == "sliding_attention");
    }
  }
  if (static_cast<int64_t>(windowed.size()) != layers) {
    reader.mistake("layer_types", fmt::format("expected a list of {} names, one a layer, got {}", layers,
                                              types->is_array() ? fmt::format("{}", windowed.size()) : quoted(*types)));
    windowed.assign(static_cast<size_t>(layers), false);
  }
  return windowed;
}

// The number a family states, or the one under the key that it names.
int64_t number_or_key(ConfigReader& reader, int64_t number, const std::string& key) {
  if (key.empty()) return number;
  const Json* value = reader.find(key);
  if (value && value->is_integer() && value->as_integer() >= 0) return value->as_integer();
  reader.mistake(key, "expected the number of a layer");
  return 0;
}

// Which layers the family's rule gives a window.
std::vector<bool> windowed_layers(ConfigReader& reader, const FamilyWindow& rule, int64_t layers) {
  const int64_t first = number_or_key(reader, rule.from_layer, rule.from_layer_key);
  const int64_t full_every = number_or_key(reader, rule.full_every, rule.full_every_key);
  std::vector<bool> windowed;
  for (int64_t i = 0; i < layers; ++i) {
    windowed.push_back(i >= first && (full_every == 0 || (i + 1) % full_every != 0));
  }
  return windowed;
}

void read_windows(ConfigReader& reader, const Family& family, ModelSpec& spec) {
  spec.layer.assign(static_cast<size_t>(spec.layers), LayerSpec{});
  const auto types = read_layer_types(reader, spec.layers);
  const bool some_type = types && std::find(types->begin(), types->end(), true) != types->end();
  if (!family.window) {
    if (some_type) reader.mistake("layer_types", "sliding_attention is not supported for this architecture");
    return;
  }
  const FamilyWindow& rule = *family.window;
  if (!rule.enabled_by.empty() && !reader.flag(rule.enabled_by, false)) return;
  const auto window = reader.optional_size("sliding_window", kMaxPositions);
  const auto windowed = types && rule.listed ? *types : windowed_layers(reader, rule, spec.layers);
  for (size_t i = 0; i < windowed.size(); ++i) {
    if (!windowed[i]) continue;
    spec.layer[i] = {.rope = static_cast<int64_t>(spec.ropes.size()) - 1, .window = window.value_or(0)};
  }
}

double positive_or_none(ConfigReader& reader, const std::string& key) {
  return key.empty() ? 0 : reader.positive(key, 0);
}

void read_arithmetic(ConfigReader& reader, const Family& family, ModelSpec& spec) {
  spec.norm = family.norm;
  spec.norm_eps = reader.positive(family.norm_eps, spec.norm_eps);
  spec.norm_offset = family.norm_offset;
  if (family.head_norm && reader.flag(family.head_norm_switch)) spec.head_norm = family.head_norm;
  spec.block = reader.flag(family.parallel) ? BlockKind::parallel : BlockKind::sequential;
  spec.qkv_bias = reader.flag(family.qkv_bias);
  spec.o_bias = reader.flag(family.o_bias);
  spec.mlp_bias = reader.flag(family.mlp_bias);
  spec.head_bias = reader.flag(family.head_bias);
  spec.tied_head = reader.flag("tie_word_embeddings", false);
  spec.gated_mlp = family.gated_mlp;
  read_activation(reader, family, spec);
  if (family.embed_scale_is_sqrt_hidden) spec.embed_scale = std::sqrt(static_cast<double>(spec.hidden));
  const double width = static_cast<double>(spec.head_dim);
  spec.attention_scale =
      1 / std::sqrt(family.attention_scale.empty() ? width : reader.positive(family.attention_scale, width));
  spec.attention_softcap = positive_or_none(reader, family.attention_softcap);
  spec.final_softcap = positive_or_none(reader, family.final_softcap);
}

// transformers' num_labels: as many as id2label names, else the key itself, else 2.
int64_t read_labels(ConfigReader& reader) {
  const Json* names = reader.find("id2label");
  if (names && names->is_object() && !names->as_object().empty()) {
    return static_cast<int64_t>(names->as_object().size());
  }
  return reader.optional_size("num_labels", kMaxVocabulary).value_or(2);
}

// The score head of transformers' GenericForSequenceClassification: a matrix alone, never tied, without a cap.
void take_score_head(ModelSpec& spec, int64_t labels) {
  spec.labels = labels;
  spec.names.head = "score";
  spec.tied_head = spec.head_bias = false;
  spec.final_softcap = 0;
}

// Which of the family's classes config.json names.
void read_class(const Json& config, const Family& family, ModelSpec& spec) {
  const Json* list = config.find("architectures");
  const Json* type = config.find("model_type");
  const bool listed = list && list->is_array() && !list->as_array().empty() && list->as_array()[0].is_string();
  const std::string word = listed ? list->as_array()[0].as_string() : type->as_string();
  for (const auto* names : {&family.architectures, &family.classifiers}) {
    const auto& words = listed ? *names : family.model_types;
    const auto found = std::ranges::find(words, word);
    if (found == words.end()) continue;
    spec.architecture = names->at(static_cast<size_t>(found - words.begin()));
    return;
  }
}

// The root with the decoder's own section laid over it.
Json laid_over(const Json& config, const Json& section) {
  Json all = config;
  for (const auto& [key, value] : section.as_object()) all[key] = value;
  return all;
}

void enter_section(Family& family, ModelSpec& spec) {
  const FamilyNesting& nesting = *family.nesting;
  spec.section = nesting.section;
  family.names = nesting.names;
  family.ignorable_tensors.insert(family.ignorable_tensors.end(), nesting.ignorable_tensors.begin(),
                                  nesting.ignorable_tensors.end());
}

ModelSpec read_spec_from(const Json& config, const std::string& origin) {
  if (!config.is_object()) fail(ExitCode::model, "config.json: expected an object");
  Family family = find_family(config);
  ModelSpec spec;
  const Json* section = family.nesting ? config.find(family.nesting->section) : nullptr;
  if (section && section->is_object()) enter_section(family, spec);
  const Json values = spec.section.empty() ? config : laid_over(config, *section);
  ConfigReader reader(values, family, origin);
  read_class(config, family, spec);
  read_shape(reader, spec);
  refuse_unsupported(reader, family);
  read_arithmetic(reader, family, spec);
  spec.initializer_range = reader.positive("initializer_range", spec.initializer_range);
  spec.ropes = read_ropes(reader, family.rope, spec.head_dim, spec.max_positions);
  read_windows(reader, family, spec);
  spec.bos_ids = reader.ids("bos_token_id");
  spec.eos_ids = reader.ids("eos_token_id");
  if (const auto pad = reader.ids("pad_token_id"); !pad.empty()) spec.pad_id = pad.front();
  const bool scores = std::ranges::count(family.classifiers, spec.architecture) > 0;
  const int64_t labels = scores ? read_labels(reader) : 0;
  reader.check();
  spec.names = family.names;
  if (scores) take_score_head(spec, labels);
  spec.ignorable_tensors = family.ignorable_tensors;
  spec.gguf = family.gguf;
  spec.config = config;
  return spec;
}

}  // namespace

ModelSpec read_spec(const Json& config, const std::string& origin) { return read_spec_from(config, origin); }

ModelSpec with_score_head(ModelSpec spec) {
  if (spec.labels > 0) return spec;
  const Family family = find_family(spec.config);
  const auto which =
      static_cast<size_t>(std::ranges::find(family.architectures, spec.architecture) - family.architectures.begin());
  if (which >= family.classifiers.size()) {
    fail(ExitCode::model, spec.architecture + ": its family has no class with a score in place of the vocabulary");
  }
  spec.architecture = family.classifiers[which];
  take_score_head(spec, 1);
  spec.config["architectures"] = Json::Array{spec.architecture};
  spec.config["id2label"] = Json::Object{{"0", "LABEL_0"}};
  spec.config["label2id"] = Json::Object{{"LABEL_0", int64_t{0}}};
  std::erase_if(spec.config.as_object(), [](const Json::Member& member) { return member.first == "num_labels"; });
  return spec;
}

ModelSpec with_pad_token(ModelSpec spec, int32_t id) {
  spec.pad_id = id;
  (spec.section.empty() ? spec.config : spec.config[spec.section])["pad_token_id"] = int64_t{id};
  return spec;
}

ModelSpec decoder_alone(const ModelSpec& spec) {
  if (spec.section.empty()) return spec;
  const Family family = find_family(spec.config);
  const auto& classes = spec.labels > 0 ? family.classifiers : family.architectures;
  Json config = Json::Object{{"architectures", Json::Array{classes.front()}}};
  for (const auto& [key, value] : spec.config.at(spec.section).as_object()) config[key] = value;
  config["model_type"] = family.model_types.front();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "torch_dtype", "dtype",
                          "id2label", "label2id"}) {
    const Json* value = spec.config.find(key);
    if (value && !config.find(key)) config[key] = *value;
  }
  return read_spec(config);
}

ModelSpec read_spec(const std::filesystem::path& folder) {
  if (is_gguf_file(folder)) return read_gguf_spec(folder);
  if (!std::filesystem::is_directory(folder)) {
    fail(ExitCode::usage, fmt::format("{}: no such folder", folder.string()), "a model is a Hugging Face folder");
  }
  const auto path = folder / "config.json";
  if (!std::filesystem::exists(path)) {
    fail(ExitCode::model, fmt::format("{}: config.json is missing", folder.string()),
         "a model is a Hugging Face folder");
  }
  const Json config = with_context(ExitCode::model, path.string(), [&] { return Json::parse_file(path); });
  return with_context(ExitCode::model, folder.string(), [&] { return read_spec_from(config, path.string()); });
}

}  // namespace prentice

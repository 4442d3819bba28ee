// What a model family's config.json cannot say, from configs/families/*.yaml: plain facts, so that no family's name
// stands in the code.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/json.h"
#include "model/spec.h"

namespace prentice {

// A fact that is either fixed by the family or the value of a key of config.json.
struct FamilySwitch {
  bool value = false;
  std::string key;  // when not empty: the key that decides; absent = false
};

// Where a sliding window applies. Without one the key `sliding_window` means nothing to the family.
struct FamilyWindow {
  std::string enabled_by;      // key that must be true; empty = always
  std::string from_layer_key;  // key of the first windowed layer; empty = from_layer
  int64_t from_layer = 0;
  std::string full_every_key;  // key of n: every n-th layer sees all; empty = full_every
  int64_t full_every = 0;      // 0 = none does
  bool listed = false;         // `layer_types`, when present, says it instead
};

struct FamilyRope {
  bool partial = false;                        // `partial_rotary_factor` is obeyed
  std::map<std::string, std::string> aliases;  // other words for a rope_type
  std::string local_theta;                     // key of the base of windowed layers; empty = one rotation for all
};

// A decoder that is a part of a larger model where config.json has `section`, whose members then count as the root's.
struct FamilyNesting {
  std::string section;
  ModuleNames names;
  std::vector<std::string> ignorable_tensors;  // besides the family's
};

// The first architecture and model type are those of the decoder alone.
struct Family {
  std::vector<std::string> architectures, model_types;  // pairs: the first belongs to the first
  std::vector<std::string> classifiers;  // as architectures: the same decoder with a score head; empty = none
  std::map<std::string, Json, std::less<>> defaults;   // of keys absent from config.json
  std::vector<std::pair<std::string, Json>> required;  // the one value of a key that is supported
  std::vector<std::string> ignored_keys;               // that the class does not read
  NormKind norm = NormKind::rms;
  std::string norm_eps = "rms_norm_eps";
  double norm_offset = 0;
  std::optional<HeadNormSpec> head_norm;
  FamilySwitch head_norm_switch{.value = true, .key = ""};
  FamilySwitch parallel;
  FamilySwitch qkv_bias, o_bias, mlp_bias, head_bias;
  bool gated_mlp = true;
  std::string activation = "hidden_act";  // key
  std::map<std::string, std::string> activation_aliases;
  bool embed_scale_is_sqrt_hidden = false;
  std::string attention_scale;                   // key of the number whose inverse root it is; empty = the head's width
  std::string attention_softcap, final_softcap;  // keys; empty = none
  FamilyRope rope;
  std::optional<FamilyWindow> window;
  ModuleNames names;
  std::vector<std::string> ignorable_tensors;
  std::optional<FamilyNesting> nesting;
  GgufSpec gguf;
};

// The family of a config.json by `architectures[0]`, its class or a classifier, or by `model_type` when there is none.
// Errors: `model`, naming what was found and listing what is supported.
Family find_family(const Json& config);
// The first family of a general.architecture of GGUF. Errors: `model`, listing what is supported.
Family find_gguf_family(const std::string& architecture);

}  // namespace prentice

// What a model family's config.json cannot say, from configs/families/*.yaml: plain facts, so that no family's name
// stands in the code.
#pragma once

#include <map>
#include <string>
#include <string_view>
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
};

struct Family {
  std::string architecture, model_type;
  std::map<std::string, Json, std::less<>> defaults;  // of keys absent from config.json
  FamilySwitch qkv_bias, o_bias, mlp_bias;
  std::optional<FamilyWindow> window;
  std::vector<std::string> ignorable_tensors;
  GgufSpec gguf;
};

// The family of a config.json by `architectures[0]`, or by `model_type` when there is none.
// Errors: `model`, naming what was found and listing what is supported.
Family find_family(const Json& config);

}  // namespace prentice

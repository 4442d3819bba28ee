// A file of a mix: a path, or {path, weight}.
#include "config/values.h"

namespace prentice {

bool Codec<WeightedFile>::read(const Node& node, WeightedFile& value, const Reading& reading) {
  const Node file = unfolded(node, reading.key);
  if (!file.is_map()) return Codec<std::string>::read(file, value.path, reading);
  const About positive{.help = "", .min = 0, .above_min = true};
  bool good = true;
  for (const auto& member : file.members()) {
    const std::string key = reading.key + "." + member.key;
    if (member.key == "path") {
      good = Codec<std::string>::read(member.value, value.path, {reading.mistakes, key, reading.about}) && good;
    } else if (member.key == "weight") {
      good = Codec<double>::read(member.value, value.weight, {reading.mistakes, key, positive}) && good;
    } else {
      reading.mistakes.add(member.position, key, "unknown key", "a file is {path: FILE, weight: SHARE}");
      good = false;
    }
  }
  if (good && !file.find("path")) {
    reading.mistakes.add(file.position(), reading.key + ".path", "is missing", "a file is {path: FILE, weight: SHARE}");
    return false;
  }
  return good;
}

Node Codec<WeightedFile>::write(const WeightedFile& value) {
  if (value.weight == 1) return text_node(value.path);
  Node node = Node::map();
  node.set("path", text_node(value.path));
  node.set("weight", Codec<double>::write(value.weight));
  return node;
}

Json Codec<WeightedFile>::schema(const About& about) {
  const Json weight = Json::Object{{"type", "number"}, {"exclusiveMinimum", int64_t{0}}};
  const Json properties = Json::Object{{"path", word_schema(about)}, {"weight", weight}};
  return Json::Object{{"anyOf", Json::Array{word_schema(about), Json::Object{{"type", "object"},
                                                                             {"properties", properties},
                                                                             {"required", Json::Array{"path"}},
                                                                             {"additionalProperties", false}}}}};
}

}  // namespace prentice

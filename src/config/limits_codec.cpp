// The bounds of one type in export.limits and verify.limits: a map of kld and top1, either of them.
#include "config/values.h"

namespace prentice {

namespace {

constexpr const char* kExample = "for instance {Q4_K_M: {kld: 0.04, top1: 0.9}}";

}  // namespace

bool Codec<LogitLimits>::read(const Node& node, LogitLimits& value, const Reading& reading) {
  const Node map = unfolded(node, reading.key);
  if (!map.is_map() || map.members().empty()) {
    reading.expected(map, "a map of kld and top1", kExample);
    return false;
  }
  bool good = true;
  for (const auto& member : map.members()) {
    const std::string key = reading.key + "." + member.key;
    if (member.key != "kld" && member.key != "top1") {
      reading.mistakes.add(member.position, key, "expected kld or top1, got " + member.key);
      good = false;
      continue;
    }
    const bool is_share = member.key == "top1";
    const About about{.help = "", .min = 0, .max = is_share ? 1 : 1e6};
    double number = 0;
    good = Codec<double>::read(member.value, number, {reading.mistakes, key, about}) && good;
    (is_share ? value.top1 : value.kld) = number;
  }
  return good;
}

Node Codec<LogitLimits>::write(const LogitLimits& value) {
  Node map = Node::map();
  if (value.kld) map.set("kld", Codec<double>::write(*value.kld));
  if (value.top1) map.set("top1", Codec<double>::write(*value.top1));
  return map;
}

Json Codec<LogitLimits>::schema(const About&) {
  const Json kld = Json::Object{{"type", "number"}, {"minimum", int64_t{0}}};
  const Json top1 = Json::Object{{"type", "number"}, {"minimum", int64_t{0}}, {"maximum", int64_t{1}}};
  return Json::Object{
      {"type", "object"}, {"properties", Json::Object{{"kld", kld}, {"top1", top1}}}, {"additionalProperties", false}};
}

}  // namespace prentice

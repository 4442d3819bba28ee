// teach.sample, a map with keys of its own inside a section: read, written and described by the one list of its keys.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/bind.h"

namespace prentice {

namespace {

class MemberReader {
 public:
  MemberReader(const Node& map, const Reading& reading) : map_(map), reading_(reading) {}

  template <class T>
  void operator()(std::string_view key, T& value, const About& about) {
    known_.emplace_back(key);
    const Node* node = map_.find(key);
    if (node && !Codec<T>::read(*node, value, {reading_.mistakes, below(key), about})) good_ = false;
  }
  bool finish() {
    for (const auto& member : map_.members()) {
      if (std::ranges::find(known_, member.key) != known_.end()) continue;
      const std::string near = closest_match(member.key, known_);
      reading_.mistakes.add(member.position, below(member.key), "unknown key",
                            near.empty() ? fmt::format("keys: {}", fmt::join(known_, ", "))
                                         : fmt::format("did you mean {}?", below(near)));
      good_ = false;
    }
    report_duplicates(map_, reading_.mistakes);
    return good_;
  }

 private:
  std::string below(std::string_view key) const { return fmt::format("{}.{}", reading_.key, key); }

  const Node& map_;
  const Reading& reading_;
  std::vector<std::string> known_;
  bool good_ = true;
};

struct MemberWriter {
  Node map = Node::map();
  template <class T>
  void operator()(std::string_view key, T& value, const About&) {
    map.set(std::string(key), Codec<T>::write(value));
  }
};

struct MemberNames {
  std::vector<std::string> names;
  template <class T>
  void operator()(std::string_view key, T&, const About&) {
    names.emplace_back(key);
  }
};

struct MemberSchemas {
  Json::Object properties;
  template <class T>
  void operator()(std::string_view key, T&, const About& about) {
    Json schema = Codec<T>::schema(about);
    schema["description"] = std::string(about.help);
    properties.emplace_back(std::string(key), std::move(schema));
  }
};

}  // namespace

bool Codec<SampleSection>::read(const Node& node, SampleSection& value, const Reading& reading) {
  const Node map = unfolded(node, reading.key);
  if (!map.is_map()) {
    reading.expected(map, "a map", "for instance {n: 4, temperature: 0.8}");
    return false;
  }
  MemberReader reader(map, reading);
  fields(reader, value);
  return reader.finish();
}

Node Codec<SampleSection>::write(const SampleSection& value) {
  SampleSection copy = value;  // the field list takes a mutable section
  MemberWriter writer;
  fields(writer, copy);
  return std::move(writer.map);
}

std::string Codec<SampleSection>::type(const About&) {
  SampleSection section;
  MemberNames names;
  fields(names, section);
  return fmt::format("map of: {}", fmt::join(names.names, ", "));
}

Json Codec<SampleSection>::schema(const About&) {
  SampleSection section;
  MemberSchemas schemas;
  fields(schemas, section);
  return Json::Object{
      {"type", "object"}, {"properties", std::move(schemas.properties)}, {"additionalProperties", false}};
}

}  // namespace prentice

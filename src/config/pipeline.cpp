#include "config/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "config/address.h"
#include "config/bind.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr const char* kStepHint = "a step is {recipe: FILE, name: NAME, set: {section.key: value}}";

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
                              std::string::npos;
}

std::string default_name(const std::string& recipe) { return fs::path(recipe).stem().string(); }

// `${steps.NAME.out}` in every text below `node`.
class Substitution {
 public:
  Substitution(const std::map<std::string, fs::path>& outs, RecipeMistakes& mistakes)
      : outs_(outs), mistakes_(mistakes) {}

  Node apply(const Node& node, const std::string& key) const {
    if (node.is_scalar()) return Node::scalar(replaced(node, key), node.quoted(), node.position());
    Node out = node;
    for (auto& item : out.items()) item = apply(item, key);
    for (auto& member : out.members()) {
      member.value = apply(member.value, key.empty() ? member.key : key + "." + member.key);
    }
    return out;
  }

 private:
  std::string replaced(const Node& node, const std::string& key) const {
    static constexpr std::string_view kOpen = "${steps.";
    std::string text = node.text();
    for (size_t at = text.find(kOpen); at != text.npos; at = text.find(kOpen, at)) {
      const size_t end = text.find('}', at);
      const size_t dot = end == text.npos ? end : text.rfind('.', end);
      const size_t name_at = at + kOpen.size();
      if (end == text.npos || dot < name_at || text.substr(dot, end - dot) != ".out") {
        mistakes_.add(node.position(), key, "expected ${steps.NAME.out}, got " + text.substr(at, end - at + 1));
        return text;
      }
      const std::string name = text.substr(name_at, dot - name_at);
      const auto found = outs_.find(name);
      if (found == outs_.end()) {
        std::vector<std::string> earlier;
        for (const auto& [step, out] : outs_) earlier.push_back(step);
        const std::string near = closest_match(name, earlier);
        mistakes_.add(node.position(), key, "no earlier step is called " + name,
                      near.empty() ? "" : "did you mean " + near + "?");
        return text;
      }
      text.replace(at, end + 1 - at, found->second.string());
      at += found->second.string().size();
    }
    return text;
  }

  const std::map<std::string, fs::path>& outs_;
  RecipeMistakes& mistakes_;
};

// An address with the parts that earlier steps make as absolute paths: nothing is there yet, and ORG/NAME would be a
// model of the hub.
std::string promised_address(const fs::path& folder, const std::string& text, const std::vector<fs::path>& promised) {
  const Address address = parse_address(folder, text);
  const fs::path whole = absolute_from(folder, address.path);
  std::string found = is_promised(whole, promised) ? whole.string() : address.path;
  if (!address.checkpoint.empty()) found.append("@").append(address.checkpoint);
  if (!address.adapter.empty()) found.append(1, '+').append(promised_address(folder, address.adapter, promised));
  return found;
}

void prefer_promised(Node& recipe, const std::map<std::string, fs::path>& outs) {
  std::vector<fs::path> promised;
  for (const auto& [name, out] : outs) promised.push_back(out);
  for (const auto& section : recipe.members()) {
    if (!section.value.is_map()) continue;
    for (const auto& member : section.value.members()) {
      Node* value = recipe.find(section.key)->find(member.key);
      if (!names_artifact(path_kind(section.key + "." + member.key)) || !value->is_scalar() || value->text().empty()) {
        continue;
      }
      const std::string address = promised_address(folder_of(value->position()), value->text(), promised);
      *value = Node::scalar(address, value->quoted(), value->position());
    }
  }
}

// As a word of the command line: the key's own type parses it.
Node as_word(const Node& value) {
  return value.is_scalar() ? Node::scalar(value.text(), false, value.position()) : value;
}

ExpandedStep expand_step(const Node& pipeline, const Node& written, const PipelineStep& step, const fs::path& out_root,
                         const std::map<std::string, fs::path>& outs, RecipeMistakes& mistakes) {
  ExpandedStep expanded{.name = step.name, .file = fs::proximate(step.recipe).string()};
  expanded.recipe = read_recipe_file(expanded.file);
  expanded.kind = recipe_kind(expanded.recipe);
  if (const Node* overrides = written.find("set")) {
    for (const auto& member : overrides->members()) {
      set_key(expanded.recipe, member.key, as_word(member.value), member.position);
    }
  }
  if (const Node* run = pipeline.find("run")) {
    for (const char* key : {"seed", "device", "precision", "deterministic", "threads"}) {
      const Node* inherited = run->find(key);
      const Node* own = expanded.recipe.find("run");
      if (!inherited || (own && own->find(key)) || !consumes(expanded.kind, std::string("run.") + key)) continue;
      set_key(expanded.recipe, std::string("run.") + key, *inherited, inherited->position());
    }
  }
  expanded.recipe = Substitution(outs, mistakes).apply(expanded.recipe, "");
  prefer_promised(expanded.recipe, outs);
  const Node* run = expanded.recipe.find("run");
  const Node* out = run ? run->find("out") : nullptr;
  expanded.out = out && out->is_scalar() ? absolute_from(fs::current_path(), out->text()) : out_root / step.name;
  if (!out && consumes(expanded.kind, "run.out")) {
    set_key(expanded.recipe, "run.out", Node::scalar(expanded.out.string(), true, written.position()),
            written.position());
  }
  return expanded;
}

bool is_good_step(const PipelineStep& step, const Node& written, const std::map<std::string, fs::path>& outs,
                  RecipeMistakes& mistakes) {
  std::error_code error;
  if (!is_plain_name(step.name)) {
    mistakes.add(written.position(), "pipeline.steps", "expected a plain name for the step, got " + step.name,
                 "add name: with letters, digits, - and _");
  } else if (outs.contains(step.name)) {
    mistakes.add(written.position(), "pipeline.steps", fmt::format("two steps are called {}", step.name),
                 "add name: to one of them");
  } else if (!fs::is_regular_file(step.recipe, error)) {
    mistakes.add(written.position(), "pipeline.steps", "no such file: " + step.recipe);
  } else {
    return true;
  }
  return false;
}

}  // namespace

void set_key(Node& recipe, const std::string& key, Node value, const Position& position) {
  const size_t dot = key.find('.');
  const size_t deeper = dot == key.npos ? dot : key.find('.', dot + 1);
  if (dot == key.npos || dot == 0 || dot + 1 == key.size() || deeper == key.size() - 1) {
    fail_at(position, fmt::format("expected section.key, got {}", key));
  }
  const auto below = [&](Node& parent, const std::string& name) -> Node& {
    if (Node* found = parent.find(name); found && found->is_map()) return *found;
    return parent.set(name, Node::map({}, position), position);
  };
  Node& section = below(recipe, key.substr(0, dot));
  if (deeper == key.npos) {
    section.set(key.substr(dot + 1), std::move(value), position);
  } else {
    below(section, key.substr(dot + 1, deeper - dot - 1)).set(key.substr(deeper + 1), std::move(value), position);
  }
}

void set_default(Node& recipe, const std::string& key, Node value) {
  const size_t dot = key.find('.');
  const Node* section = recipe.find(key.substr(0, dot));
  if (!section || !section->find(key.substr(dot + 1))) set_key(recipe, key, std::move(value), {});
}

std::vector<ExpandedStep> expand_steps(const Node& pipeline, RecipeMistakes& mistakes) {
  RecipeMistakes reported_by_the_reader;
  const fs::path out = bind_pipeline(pipeline, reported_by_the_reader).run.out;
  const Node* section = pipeline.find("pipeline");
  const Node* list = section ? section->find("steps") : nullptr;
  if (!list) return {};
  const Node steps = unfolded(*list, "pipeline.steps");
  std::map<std::string, fs::path> outs;
  std::vector<ExpandedStep> expanded;
  for (const Node& written : steps.is_list() ? steps.items() : std::vector<Node>{steps}) {
    std::vector<PipelineStep> read(1);
    const About about{.help = ""};
    if (!Codec<PipelineStep>::read(written, read[0], {reported_by_the_reader, "pipeline.steps", about})) continue;
    make_absolute(read, written, about);
    const PipelineStep& step = read[0];
    if (!is_good_step(step, written, outs, mistakes)) continue;
    ExpandedStep next = expand_step(pipeline, written, step, out, outs, mistakes);
    if (next.kind == PipelineRecipe::kKind) {
      mistakes.add(written.position(), "pipeline.steps", "a pipeline in a pipeline is not allowed",
                   "list its steps here");
      continue;
    }
    for (const auto& [name, out] : outs) {
      if (out != next.out) continue;
      mistakes.add(written.position(), "pipeline.steps",
                   fmt::format("steps {} and {} have the same run.out", name, next.name));
    }
    outs[next.name] = next.out;
    expanded.push_back(std::move(next));
  }
  return expanded;
}

std::vector<ExpandedStep> expand_steps(const Node& pipeline) {
  read_recipe<PipelineRecipe>(pipeline, {.check_paths = false});
  RecipeMistakes mistakes;
  auto steps = expand_steps(pipeline, mistakes);
  mistakes.throw_if_any();
  return steps;
}

bool Codec<PipelineStep>::read(const Node& node, PipelineStep& step, const Reading& reading) {
  if (node.is_scalar()) {
    step = {.name = default_name(node.text()), .recipe = node.text()};
    return true;
  }
  if (!node.is_map()) {
    reading.expected(node, "a step", kStepHint);
    return false;
  }
  const About about{.help = ""};
  bool good = true;
  for (const auto& member : node.members()) {
    const std::string key = reading.key + "." + member.key;
    const Reading below{reading.mistakes, key, about};
    if (member.key == "recipe") {
      good = Codec<std::string>::read(member.value, step.recipe, below) && good;
    } else if (member.key == "name") {
      good = Codec<std::string>::read(member.value, step.name, below) && good;
    } else if (member.key == "set" && member.value.is_map()) {
      for (const auto& item : member.value.members()) {
        step.overrides[item.key] = item.value.is_scalar() ? item.value.text() : to_flow(item.value);
      }
    } else {
      reading.mistakes.add(member.position, key, member.key == "set" ? "expected a map" : "unknown key", kStepHint);
      good = false;
    }
  }
  if (step.recipe.empty() && good) {
    reading.mistakes.add(node.position(), reading.key + ".recipe", "is missing", kStepHint);
    return false;
  }
  if (step.name.empty()) step.name = default_name(step.recipe);
  return good;
}

Node Codec<PipelineStep>::write(const PipelineStep& step) {
  Node node = Node::map();
  node.set("name", text_node(step.name));
  node.set("recipe", text_node(step.recipe));
  if (step.overrides.empty()) return node;
  Node overrides = Node::map();
  for (const auto& [key, value] : step.overrides) overrides.set(key, text_node(value));
  node.set("set", std::move(overrides));
  return node;
}

Json Codec<PipelineStep>::schema(const About&) {
  const Json text = Json::Object{{"type", "string"}};
  const Json properties = Json::Object{{"recipe", text}, {"name", text}, {"set", Json::Object{{"type", "object"}}}};
  const Json step = Json::Object{{"type", "object"},
                                 {"properties", properties},
                                 {"required", Json::Array{"recipe"}},
                                 {"additionalProperties", false}};
  return Json::Object{{"anyOf", Json::Array{text, step}}};
}

}  // namespace prentice

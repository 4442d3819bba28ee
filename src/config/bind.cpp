#include "config/bind.h"

#include "config/address.h"
#include "hub/cache.h"

namespace prentice {

namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Lists what a kind holds. `doc` walks default values, so their text is the default.
class FieldLister {
 public:
  FieldLister(std::string_view kind, std::string section, std::vector<FieldDoc>& out)
      : kind_(kind), section_(std::move(section)), out_(out) {}
  template <class T>
  void operator()(std::string_view key, T& value, const About& about) {
    if (!consumes(kind_, section_ + "." + std::string(key))) return;
    FieldDoc doc{std::string(kind_), section_, std::string(key)};
    doc.type = Codec<T>::type(about);
    doc.help = about.help, doc.why = about.why, doc.path = about.path, doc.later = about.later;
    doc.later_words = later_text(choices_of<T>(about));
    doc.default_text = to_flow(Codec<T>::write(value));
    doc.schema = Codec<T>::schema(about);
    out_.push_back(std::move(doc));
  }
  void reserved(std::string_view key, std::string_view help) {
    if (!consumes(kind_, section_ + "." + std::string(key))) return;
    FieldDoc doc{std::string(kind_), section_, std::string(key)};
    doc.help = help, doc.later = true;
    out_.push_back(std::move(doc));
  }

 private:
  template <class T>
  static std::vector<Choice> choices_of(const About& about) {
    if constexpr (std::is_enum_v<T>) {
      return Codec<T>::choices();
    } else {
      return {about.choices.begin(), about.choices.end()};
    }
  }

  std::string_view kind_;
  std::string section_;
  std::vector<FieldDoc>& out_;
};

const std::vector<FieldDoc>& all_fields() {
  static const std::vector<FieldDoc> fields = [] {
    std::vector<FieldDoc> all;
    for (const auto& kind : recipe_kinds()) {
      for (auto& doc : describe_fields(kind)) all.push_back(std::move(doc));
    }
    return all;
  }();
  return fields;
}

void push_new(std::vector<std::string>& list, const std::string& word) {
  if (std::find(list.begin(), list.end(), word) == list.end()) list.push_back(word);
}

}  // namespace

void make_absolute(std::string& value, const Node& node, const About& about) {
  if (value.empty()) return;
  const auto folder = folder_of(node.position());
  switch (about.path) {
    case PathKind::none:
      return;
    case PathKind::if_address:
      if (is_choice(about, value)) return;
      [[fallthrough]];
    case PathKind::address:
      value = absolute_address(folder, value);
      return;
    case PathKind::output:
      value = absolute_from(std::filesystem::current_path(), value).string();
      return;
    case PathKind::if_adapter:
      if (is_choice(about, value)) return;
      if (is_hub_address(folder, value)) {
        if (const auto cached = cached_snapshot(value); !cached.empty()) value = cached.string();
        return;
      }
      value = absolute_from(folder, value).string();
      return;
    case PathKind::if_path:
      if (value == "auto") return;
      [[fallthrough]];
    case PathKind::or_server:
      if (is_server(about, value)) return;
      [[fallthrough]];
    case PathKind::input:
    case PathKind::tokenizer:
      value = absolute_from(folder, value).string();
  }
}

void make_absolute(std::vector<std::string>& value, const Node& node, const About& about) {
  for (auto& item : value) make_absolute(item, node, about);
}

void make_absolute(std::vector<WeightedFile>& value, const Node& node, const About& about) {
  for (auto& file : value) make_absolute(file.path, node, about);
}

void make_absolute(std::vector<PipelineStep>& value, const Node& node, const About&) {
  for (auto& step : value) {
    make_absolute(step.recipe, node, {.path = PathKind::input});
    for (auto& [key, text] : step.overrides) {
      const PathKind kind = path_kind(key);
      // Lists of files keep their spelling; a step's own reading makes them absolute.
      if (kind == PathKind::none || text.starts_with('[') || text.starts_with("${")) continue;
      const bool may_be_word =
          kind == PathKind::if_path || kind == PathKind::if_adapter || kind == PathKind::if_address;
      if (may_be_word && text.find('/') == std::string::npos) continue;
      make_absolute(text, node, {.path = kind});
    }
  }
}

const Node* FieldReader::claim(std::string_view key, const std::string& full) {
  if (!consumes(kind_, full)) return nullptr;
  known_.emplace_back(key);
  const Node* node = node_.find(key);
  if (node) claimed_.emplace(key);
  return node;
}

void FieldReader::refuse_later(const Node& node, const std::string& full) {
  mistakes_.add(node.position(), full, "not in this version", "remove the key");
}

void FieldReader::reserved(std::string_view key, std::string_view) {
  const std::string full = section_ + "." + std::string(key);
  if (!consumes(kind_, full) || !node_.find(key)) return;
  claimed_.emplace(key);
  for (const auto& member : node_.members()) {
    if (member.key == key) mistakes_.add(member.position, full, "not in this version", "remove the key");
  }
}

void report_duplicates(const Node& map, RecipeMistakes& mistakes) {
  std::map<std::string_view, int> first_lines;
  for (const auto& member : map.members()) {
    const auto [first, is_new] = first_lines.emplace(member.key, member.position.line);
    if (is_new) continue;
    mistakes.add(member.position, "",
                 fmt::format("key `{}` is there twice, first on line {}", member.key, first->second));
  }
}

void FieldReader::finish() {
  report_duplicates(node_, mistakes_);
  for (const auto& member : node_.members()) {
    if (claimed_.contains(member.key)) continue;
    const std::string full = section_ + "." + member.key;
    const auto holders = sections_with_key(member.key);
    if (std::find(holders.begin(), holders.end(), section_) != holders.end()) {
      mistakes_.add(member.position, full, fmt::format("a recipe of kind {} does not use this key", kind_),
                    "remove the key");
      continue;
    }
    const std::string near = closest_match(member.key, known_);
    std::string hint = near.empty() ? "" : "did you mean " + near + "?";
    if (hint.empty()) hint = foreign_name_hint(member.key);
    if (hint.empty() && !holders.empty()) hint = "did you mean " + holders.front() + "." + member.key + "?";
    if (hint.empty()) hint = fmt::format("keys of {}: {}", section_, joined(known_));
    mistakes_.add(member.position, full, "unknown key", hint);
  }
}

std::vector<FieldDoc> describe_fields(std::string_view word) {
  const std::string_view kind = kind_behind(word);
  const auto list = [&](auto recipe) {
    recipe.run.out = "runs/NAME";
    if constexpr (requires { recipe.preference; }) {
      if (const KindAlias* alias = find_alias(word)) recipe.preference.loss = alias->loss;
    }
    resolve_defaults(recipe);
    std::vector<FieldDoc> docs;
    sections([&](const char* name, auto& section) { fields(FieldLister(kind, name, docs), section); }, recipe);
    return docs;
  };
  std::vector<FieldDoc> docs;
  for_each_kind([&](auto recipe) {
    if (recipe.kKind != kind) return;
    docs = list(recipe);
    if constexpr (requires { recipe.adapter; }) {
      recipe.adapter.kind = AdapterKind::full;
      const auto full = list(recipe);
      for (size_t i = 0; i < docs.size(); ++i) {
        if (full[i].default_text != docs[i].default_text && docs[i].section != "adapter")
          docs[i].full_default = full[i].default_text;
      }
    }
  });
  return docs;
}

PathKind path_kind(std::string_view section_key) {
  for (const auto& doc : all_fields()) {
    if (doc.name() == section_key) return doc.path;
  }
  return PathKind::none;
}

std::vector<std::string> sections_with_key(std::string_view key) {
  std::vector<std::string> found;
  for (const auto& doc : all_fields()) {
    if (doc.key == key && !doc.later) push_new(found, doc.section);
  }
  return found;
}

std::string foreign_name_hint(std::string_view key) {
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"learning_rate", "optim.lr"},
      {"optimizer", "optim.name"},
      {"lr_scheduler", "optim.schedule"},
      {"lr_scheduler_type", "optim.schedule"},
      {"warmup_ratio", "optim.warmup"},
      {"warmup_steps", "optim.warmup"},
      {"max_grad_norm", "optim.clip"},
      {"num_epochs", "train.epochs"},
      {"num_train_epochs", "train.epochs"},
      {"max_steps", "train.steps"},
      {"batch_size", "train.batch"},
      {"gradient_accumulation_steps", "train.batch"},
      {"per_device_train_batch_size", "train.micro_tokens"},
      {"micro_batch_size", "train.micro_tokens"},
      {"gradient_checkpointing", "train.recompute"},
      {"save_steps", "train.checkpoint_every"},
      {"eval_steps", "train.eval_every"},
      {"logging_steps", "run.log_every"},
      {"output_dir", "run.out"},
      {"bf16", "run.precision"},
      {"dtype", "run.precision"},
      {"r", "adapter.rank"},
      {"lora_r", "adapter.rank"},
      {"lora_rank", "adapter.rank"},
      {"lora_alpha", "adapter.alpha"},
      {"lora_dropout", "adapter.dropout"},
      {"target_modules", "adapter.targets"},
      {"lora_target", "adapter.targets"},
      {"base_model", "model.path"},
      {"model_name_or_path", "model.path"},
      {"dataset", "data.train"},
      {"datasets", "data.train"},
      {"max_seq_length", "data.max_length"},
      {"max_seq_len", "data.max_length"},
      {"cutoff_len", "data.max_length"},
      {"sequence_len", "data.max_length"},
  };
  for (const auto& [theirs, ours] : kNames) {
    if (theirs == key) return fmt::format("did you mean {}?", ours);
  }
  return "";
}

std::vector<std::string> sections_of_kind(std::string_view kind) {
  std::vector<std::string> names;
  for (const auto& doc : all_fields()) {
    if (doc.kind == kind) push_new(names, doc.section);
  }
  return names;
}

std::vector<std::string> kinds_with_section(std::string_view section) {
  std::vector<std::string> kinds;
  for (const auto& doc : all_fields()) {
    if (doc.section == section) push_new(kinds, doc.kind);
  }
  return kinds;
}

}  // namespace prentice

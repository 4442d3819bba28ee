// `init KIND`: a commented starter recipe that fits the data at hand.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "cli/init_paths.h"
#include "cli/init_rows.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "config/bind.h"
#include "config/pipeline.h"
#include "config/preference_rules.h"
#include "config/read.h"
#include "core/shell_word.h"
#include "core/utf8.h"
#include "data/formats.h"
#include "data/look.h"
#include "io/json.h"
#include "io/publish.h"
#include "recipes/programs.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// The keys a starter shows, where the kind has them; `explain` knows the rest.
constexpr std::array kShown = {"model.path",           "model.init",      "adapter.rank",
                               "adapter.targets",      "data.train",      "data.eval",
                               "data.prompt",          "data.completion", "data.system",
                               "data.max_length",      "train.batch",     "train.batch_tokens",
                               "train.epochs",         "train.select",    "optim.lr",
                               "preference.loss",      "preference.beta", "preference.reference",
                               "distill.teacher",      "distill.loss",    "distill.weight",
                               "eval.tasks",           "eval.require",    "export.merged",
                               "export.gguf",          "generate.prompt", "generate.max_new_tokens",
                               "generate.temperature", "teach.top_k",     "teach.values",
                               "teach.sample",         "run.out",         "run.seed",
                               "verify.model",         "verify.artifact", "verify.limits",
                               "pipeline.steps"};

struct Note {
  std::string text;
  bool of_guess = false;  // holds only as long as the guess does
};

struct Proposal {
  Node recipe;              // values that stand uncommented
  std::vector<Note> notes;  // what was found, for the first comments
  bool guessed = false;     // data.prompt and data.completion come from the names of members
  bool has_data = false;    // data.train was given
  std::string choices;      // the members that these may be built of
};

// Whether the model named is a folder with a tokenizer and no chat template.
bool lacks_template(const Node& recipe) {
  const Node* model = recipe.find("model");
  const Node* path = model ? model->find("path") : nullptr;
  std::error_code error;
  if (!path || !path->is_scalar() || !fs::is_regular_file(fs::path(path->text()) / "tokenizer_config.json", error))
    return false;
  const fs::path folder = path->text();
  if (fs::exists(folder / "chat_template.jinja", error)) return false;
  return !Json::parse_file(folder / "tokenizer_config.json").find("chat_template");
}

// A member's name in a template, where it is no word of the template language by another of ours.
std::string variable(Proposal& proposal, const std::string& field, const std::string& ours) {
  const bool plain =
      field.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == field.npos;
  if (!plain) set_key(proposal.recipe, "data.fields." + ours, Node::scalar(field, true), {});
  return plain ? field : ours;
}

// A record whose members no format knows becomes a prompt and a completion, where it is clear of which members.
void propose_rows(Proposal& proposal, const DataLook& look) {
  // A record with a text and more is likelier a question and its answer than a text to continue.
  if (look.format && (look.format != DataFormat::text || look.fields.size() == 1)) {
    proposal.notes.push_back(
        {fmt::format("rows of the format `{}`, which is found by itself", format_word(*look.format))});
    return;
  }
  const Node* data = proposal.recipe.find("data");
  if (data && (data->find("prompt") || data->find("completion") || data->find("fields") || data->find("format")))
    return;
  proposal.choices = printable(row_choices(look));
  const auto guess = guess_rows(look);
  if (!guess) return;
  // Without a chat template prompt and completion are one string: a space keeps their tokens apart.
  const std::string space = lacks_template(proposal.recipe) ? " " : "";
  const std::string filter = guess->answer_is_json ? " | tojson" : "";
  const std::string question = variable(proposal, guess->question, "prompt");
  const std::string answer = variable(proposal, guess->answer, "completion");
  set_key(proposal.recipe, "data.prompt", Node::scalar("{{ " + question + " }}", true), {});
  set_key(proposal.recipe, "data.completion", Node::scalar(space + "{{ " + answer + filter + " }}", true), {});
  proposal.guessed = true;
  const auto note = [&](std::string text) { proposal.notes.push_back({.text = std::move(text), .of_guess = true}); };
  note("a guess from the field names: check data.prompt and data.completion with `prentice audit`");
  if (!guess->others.empty()) {
    note(printable(fmt::format("not in the prompt, though it may belong there: {}", fmt::join(guess->others, ", "))));
  }
}

// A guess that does not hold is worse than none.
void withdraw_guess(Proposal& proposal) {
  Node* data = proposal.recipe.find("data");
  std::erase_if(data->members(), [](const Node::Member& member) {
    return member.key == "prompt" || member.key == "completion" || member.key == "fields";
  });
  std::erase_if(proposal.notes, [](const Note& note) { return note.of_guess; });
  proposal.guessed = false;
}

void look_at_files(Proposal& proposal, const std::string& kind) {
  for (const std::string key : {"train", "eval"}) {
    const Node* data = proposal.recipe.find("data");
    const Node* value = data ? data->find(key) : nullptr;
    if (!value || !value->is_scalar() || value->text().starts_with('[')) continue;
    const fs::path file = value->text();
    const DataLook look = look_at_data(file.string());
    proposal.has_data = proposal.has_data || key == "train";
    if (key != "train") continue;
    std::string note = fmt::format("{}: {}", file.filename().string(), look.kind);
    if (!look.plain_text) {
      std::vector<std::string> names;
      for (const auto& field : look.fields) {
        if (field.name.find('.') == field.name.npos) names.push_back(field.name);
      }
      note +=
          fmt::format(", {} {}; fields: {}", look.records, look.records == 1 ? "row" : "rows", fmt::join(names, ", "));
    }
    proposal.notes.push_back({printable(note)});
    if ((kind == "sft" || kind == "distill" || kind == "teach") && !look.plain_text) propose_rows(proposal, look);
  }
}

// As much of a help text as fits behind a value: up to its colon, else up to the last pause in reach.
std::string first_part(const std::string& help) {
  constexpr size_t kReach = 90;
  const size_t colon = help.find(':');
  if (colon != help.npos && colon >= 9) return help.substr(0, colon);
  return help.size() <= kReach ? help : help.substr(0, help.find_last_of(";,", kReach));
}

// `word`: the kind, or another name of it.
std::string starter_text(const std::string& word, const std::string& file, const Proposal& proposal) {
  std::string out = fmt::format("# prentice run {}\n", shell_word(file));
  for (const auto& note : proposal.notes) out += "# " + note.text + '\n';
  out +=
      fmt::format("# Keys behind # show their defaults; `prentice explain {}` has them all.\nrecipe: {}\n", word, word);
  std::string section, body;
  bool live = false;
  const auto flush = [&] {
    if (!section.empty()) out += fmt::format("\n{}{}:\n{}", live ? "" : "# ", section, body);
    body.clear(), live = false;
  };
  for (const auto& doc : describe_fields(word)) {
    const Node* chosen_section = proposal.recipe.find(doc.section);
    const Node* chosen = chosen_section ? chosen_section->find(doc.key) : nullptr;
    const bool shown = std::find(kShown.begin(), kShown.end(), doc.name()) != kShown.end();
    if (!chosen && !shown) continue;
    if (doc.section != section) flush(), section = doc.section;
    const std::string value = chosen ? to_flow(*chosen) : doc.default_text;
    const bool open = !chosen && doc.section == "data" && (doc.key == "prompt" || doc.key == "completion");
    body += open && !proposal.choices.empty()
                ? fmt::format("  # {}: \"{{{{ ... }}}}\"  # of {}\n", doc.key, proposal.choices)
                : fmt::format("  {}{}: {}  # {}\n", chosen ? "" : "# ", doc.key, value, first_part(doc.help));
    live = live || chosen;
  }
  flush();
  return out;
}

bool takes_model(const std::string& kind) {
  return with_kind(kind_behind(kind), []<class R>() {
    return requires(R recipe) { recipe.model; };
  });
}

bool reads_train(const std::string& kind) {
  return with_kind(kind_behind(kind), []<class R>() { return kReadsTrain<R>; });
}

// What a kind cannot run without, as a placeholder.
void add_placeholders(Proposal& proposal, const std::string& kind) {
  if (kind == "pipeline") {
    Node step = Node::map();
    step.set("recipe", Node::scalar("sft.yaml"));
    step.set("set", Node::map()).set("train.epochs", Node::scalar("1"));
    set_default(proposal.recipe, "pipeline.steps", Node::list({step}));
    return;
  }
  const bool compares = kind == CompareRecipe::kKind;
  const bool verifies = kind == VerifyRecipe::kKind;
  if (!compares && !verifies) set_default(proposal.recipe, "model.path", Node::scalar("MODEL", true));
  if (verifies) set_default(proposal.recipe, "verify.model", Node::scalar("RUN", true));
  if (verifies) set_default(proposal.recipe, "verify.artifact", Node::scalar("FILE.gguf", true));
  if (compares) set_default(proposal.recipe, "compare.a", Node::scalar("OLD", true));
  if (compares) set_default(proposal.recipe, "compare.b", Node::scalar("NEW", true));
  if (kind == "pretrain") set_default(proposal.recipe, "model.init", Node::scalar("random"));
  if (reads_train(kind)) set_default(proposal.recipe, "data.train", Node::scalar("train.jsonl", true));
  if (kind == "distill") set_default(proposal.recipe, "distill.teacher", Node::scalar("TEACHER", true));
  if (kind == "eval" || compares) set_default(proposal.recipe, "data.eval", Node::scalar("test.jsonl", true));
  if (kind == "generate") set_default(proposal.recipe, "generate.prompt", Node::scalar("Hello", true));
}

// Why `audit` would refuse the recipe, a sentence each, the first few; empty also where it was not asked for data.
std::vector<std::string> mistakes_of(const std::string& kind, const fs::path& file, const Proposal& proposal,
                                     bool with_model) {
  constexpr size_t kShown = 3;
  std::vector<std::string> sentences;
  if (!reads_train(kind) || !proposal.has_data) return sentences;
  if (!proposal.choices.empty() && !proposal.guessed) {
    return {"data.prompt and data.completion: which fields are the question and the answer is not clear; of " +
            proposal.choices};
  }
  const Node recipe = parse_yaml(starter_text(kind, file.string(), proposal), fs::absolute(file).string());
  for (const auto& mistake : audit_mistakes(recipe, with_model)) {
    if (sentences.size() == kShown) break;
    const auto hint = mistake.hint.empty() ? "" : fmt::format(" ({})", mistake.hint);
    Diagnostic plain = mistake;
    if (plain.file == recipe.position().file) plain.file.clear();
    sentences.push_back(printable(to_string(plain) + hint));
  }
  return sentences;
}

}  // namespace

int verb_init(const Arguments& arguments) {
  const auto& words = arguments.words;
  if (words.empty() || words.size() > 2) {
    fail(ExitCode::usage, words.empty() ? "init: a kind is needed" : "init: expected one file, got also " + words[2],
         fmt::format("prentice init KIND [FILE]; kinds: {}", fmt::join(recipe_kinds(), ", ")));
  }
  if (const std::string loss = words_for_loss(words[0]); !loss.empty()) {
    fail(ExitCode::usage, fmt::format("init: {} is no kind but a loss", words[0]),
         fmt::format("did you mean: prentice init {}", loss));
  }
  Proposal proposal{.recipe = recipe_from_words(words[0], arguments.overrides)};
  const std::string kind = recipe_kind(proposal.recipe);
  unfold_words(proposal.recipe, kind);
  const fs::path file = words.size() == 2 ? fs::path(words[1]) : fs::path(words[0] + ".yaml");
  if (const auto* alias = find_alias(words[0])) {
    set_default(proposal.recipe, "preference.loss", Node::scalar(std::string(word_of(alias->loss))));
  }
  if (fs::exists(file))
    fail(ExitCode::usage, fmt::format("{}: there is a file already", file.string()),
         fmt::format("name another: prentice init {} FILE.yaml", kind));
  look_at_files(proposal, kind);
  respell_paths(proposal.recipe, fs::absolute(file).parent_path());
  const bool has_model = proposal.recipe.find("model") && proposal.recipe.find("model")->find("path");
  const bool has_teacher =
      kind != "distill" || (proposal.recipe.find("distill") && proposal.recipe.find("distill")->find("teacher"));
  add_placeholders(proposal, kind);
  const auto refused = [&](bool with_model) { return mistakes_of(kind, file, proposal, with_model); };
  auto mistakes = refused(false);
  if (!mistakes.empty() && proposal.guessed) {
    withdraw_guess(proposal);
    mistakes = refused(false);
  }
  if (mistakes.empty() && has_model && has_teacher) mistakes = refused(true);
  const std::string text = starter_text(words[0], file.string(), proposal);
  publish_file(fs::absolute(file), text, IfExists::refuse);
  if (arguments.flags.json) {
    print_result(Json(Json::Object{{"schema", 1},
                                   {"file", file.string()},
                                   {"kind", kind},
                                   {"text", text},
                                   {"open", Json::Array(mistakes.begin(), mistakes.end())}})
                     .dump() +
                 "\n");
    return 0;
  }
  std::string next = fmt::format("wrote {}\n", file.string());
  for (const auto& note : proposal.notes) next += fmt::format("  {}\n", note.text);
  for (const auto& mistake : mistakes) next += fmt::format("not ready: {}\n", mistake);
  std::vector<std::string> open;
  if (!mistakes.empty()) open.push_back("mend that");
  if (!has_model && takes_model(kind)) open.push_back("set model.path in it");
  if (!has_teacher) open.push_back("set distill.teacher in it");
  if (!open.empty()) next += fmt::format("next: {}, then\n", fmt::join(open, " and "));
  for (const char* verb : {"validate", "plan", "run"})
    next += fmt::format("  prentice {} {}\n", verb, shell_word(file.string()));
  print_result(next);
  return 0;
}

}  // namespace prentice

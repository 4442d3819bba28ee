#include "cli/verbs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "cli/terminal.h"
#include "cli/version.h"
#include "config/bind.h"
#include "config/configs.h"
#include "config/preference_rules.h"
#include "config/read.h"
#include "io/json.h"
#include "kernels/cuda_plugin.h"
#include "plan/plan_fit.h"
#include "recipes/programs.h"
#include "recipes/repro.h"
#include "recipes/validate.h"

namespace prentice {

namespace {

[[noreturn]] void fail_usage(const Arguments& arguments, std::string_view usage, const std::string& message) {
  fail(ExitCode::usage, fmt::format("{}: {}", arguments.verb, message), fmt::format("usage: prentice {}", usage));
}

// `lr=3`: a key without its section, for which words that are no override are looked through.
void refuse_bare_key(const std::vector<std::string>& words) {
  for (const auto& word : words) {
    const size_t equals = word.find('=');
    if (equals == word.npos || equals == 0) continue;
    const std::string key = word.substr(0, equals);
    const auto holders = sections_with_key(key);
    fail(ExitCode::usage, fmt::format("{}: expected section.key=value", word),
         holders.empty() ? "" : fmt::format("did you mean {}.{}?", holders.front(), word));
  }
}

// The recipe that `run`, `plan`, ... are about: a file and overrides.
Invocation open_recipe(const Arguments& arguments) {
  if (arguments.words.size() != 1) {
    if (arguments.words.size() > 1) refuse_bare_key(arguments.words);
    fail_usage(arguments, arguments.verb + " FILE.yaml [section.key=value ...]",
               arguments.words.empty() ? "a recipe file is needed"
                                       : fmt::format("expected one file, got also {}", arguments.words[1]));
  }
  Invocation invocation = arguments.flags;
  invocation.verb = arguments.verb;
  invocation.file = arguments.words[0];
  invocation.recipe = read_recipe_file(invocation.file, arguments.overrides);
  invocation.kind = recipe_kind(invocation.recipe);
  return invocation;
}

int verb_run(const Arguments& arguments) { return run_recipe(open_recipe(arguments)); }

// `prentice sft FILE k=v`, or only words.
int run_kind(const Arguments& arguments) {
  refuse_bare_key(arguments.words);
  if (arguments.words.size() > 1) {
    fail_usage(arguments, arguments.verb + " [FILE.yaml] [section.key=value ...]",
               fmt::format("expected section.key=value, got {}", arguments.words[1]));
  }
  Invocation invocation = arguments.flags;
  invocation.verb = "run";
  invocation.kind = kind_behind(arguments.verb);
  if (arguments.words.empty()) {
    invocation.recipe = recipe_from_words(arguments.verb, arguments.overrides);
  } else {
    invocation.file = arguments.words[0];
    invocation.recipe = read_recipe_file(invocation.file, arguments.overrides);
    const std::string kind = recipe_kind(invocation.recipe);
    if (kind != kind_behind(arguments.verb)) {
      fail(ExitCode::usage, fmt::format("{}: this recipe is of kind {}, not {}", invocation.file, kind, arguments.verb),
           fmt::format("prentice run {}", invocation.file));
    }
  }
  return run_recipe(invocation);
}

int verb_plan(const Arguments& arguments) {
  if (arguments.fit.empty()) return plan_recipe(open_recipe(arguments));
  refuse_bare_key(arguments.words);
  if (!arguments.overrides.empty())
    fail_usage(arguments, "plan --fit SIZE [MODEL ...]", arguments.overrides[0] + " has no effect with --fit");
  return list_what_fits(fit_bytes(arguments.fit), arguments.words, arguments.flags);
}
int verb_audit(const Arguments& arguments) { return audit_recipe(open_recipe(arguments)); }

int verb_validate(const Arguments& arguments) {
  const Invocation invocation = open_recipe(arguments);
  auto warnings = validate_recipe(invocation.recipe);
  std::ranges::move(warnings_of_rows(invocation.recipe), std::back_inserter(warnings));
  if (invocation.json) {
    Json::Array list;
    for (const auto& warning : warnings) list.emplace_back(warning);
    const Json result = Json::Object{{"schema", 1},
                                     {"file", invocation.file},
                                     {"kind", invocation.kind},
                                     {"valid", true},
                                     {"warnings", std::move(list)}};
    print_result(result.dump() + "\n");
    return 0;
  }
  for (const auto& warning : warnings) fmt::print(stderr, "warning: {}\n", warning);
  print_result(fmt::format("{}: a valid recipe of kind {}\n", invocation.file, invocation.kind));
  return 0;
}

int verb_resume(const Arguments& arguments) {
  if (arguments.words.size() != 1) fail_usage(arguments, "resume DIR", "one run folder is needed");
  const std::filesystem::path folder = arguments.words[0];
  if (!arguments.overrides.empty()) {
    fail(ExitCode::usage, "resume: a run goes on as it was started, got " + arguments.overrides[0]);
  }
  if (!std::filesystem::is_directory(folder)) fail(ExitCode::usage, folder.string() + ": no such run folder");
  return resume_run(folder, arguments.flags);
}

int verb_repro(const Arguments& arguments) {
  const auto& words = arguments.words;
  if (words.size() == 3 && words[0] == "diff") return repro_diff(words[1], words[2], arguments.flags);
  if (words.size() != 2 || words[0] != "run")
    fail_usage(arguments, "repro diff A B | repro run DIR [--out DIR2]", "expected diff or run");
  return repro_run(words[1], arguments.out, arguments.flags);
}

int print_help(const Arguments& arguments, const std::string& text) {
  print_result(arguments.flags.json ? Json(Json::Object{{"schema", 1}, {"help", text}}).dump() + "\n" : text);
  return 0;
}

int verb_help_text(const Arguments& arguments) {
  if (arguments.words.empty()) return print_help(arguments, general_help());
  Arguments about = arguments;
  about.verb = arguments.words[0];
  about.words.clear();
  about.help = true;
  return run_command(about);
}

constexpr bool kTakesOverrides = true, kRunsRecipes = true;
constexpr std::string_view kNoFlags;

constexpr Verb kVerbs[] = {
    {"run", "run FILE [section.key=value ...] [--fresh]", "run a recipe, or continue its unfinished run",
     "A finished run of the same recipe and inputs is left alone. --fresh moves what is in run.out aside.\n", verb_run,
     kTakesOverrides, "--fresh --chat --provenance", kRunsRecipes},
    {"resume", "resume DIR", "go on with the run in DIR; never a fresh start", "", verb_resume, kTakesOverrides,
     kNoFlags, kRunsRecipes},
    {"plan", "plan FILE [section.key=value ...] | plan --fit 16GB [MODEL ...]",
     "steps, memory, time, disk, price: before weights load",
     "--fit SIZE lists what trains in so much device memory: model by method, and the longest rows. SIZE may be a "
     "name\n"
     "under configs/hardware; without a MODEL, the shapes that ship.\n",
     verb_plan, kTakesOverrides, "--fit", kRunsRecipes},
    {"validate", "validate FILE [section.key=value ...]", "every mistake of a recipe at once",
     "A pipeline is checked with all its steps.\n", verb_validate, kTakesOverrides},
    {"audit", "audit FILE [section.key=value ...] [--rows N]", "the first training rows as the model will see them", "",
     verb_audit, kTakesOverrides, "--rows", kRunsRecipes},
    {"explain", "explain [KIND[.section[.key]]] [--json-schema]", "every key, its default and the reason for it",
     "--json-schema prints a JSON schema: point your editor's YAML plug-in at it.\n", verb_explain, !kTakesOverrides,
     "--json-schema"},
    {"recipes", "recipes", "the recipes that ship", "", verb_recipes},
    {"init", "init KIND [FILE] [section.key=value ...]", "write a commented starter recipe",
     "Looks at data.train first: `prentice init sft data.train=tickets.csv`. FILE defaults to KIND.yaml.\n", verb_init,
     kTakesOverrides},
    {"generate", "generate model.path=MODEL generate.prompt=TEXT | --chat",
     "sample from a model, a run or MODEL+ADAPTER", "", run_kind, kTakesOverrides, "--chat --fresh", kRunsRecipes},
    {"verify", "verify verify.model=MODEL verify.artifact=FILE [--provenance]",
     "prove that a file computes what the model computes that it was made of",
     "--provenance also checks what the file says of its run, data, base and program against those files.\n", run_kind,
     kTakesOverrides, "--fresh --provenance", kRunsRecipes},
    {"inspect", "inspect PATH",
     "what is in a safetensors, GGUF or Parquet file, an adapter, checkpoint, run folder or teacher store",
     "Safe on hostile files: nothing in them is trusted, nothing is run. Takes artifact addresses, too: ORG/NAME in "
     "the\n"
     "cache, RUN@STEP, BASE+ADAPTER (the adapter).\n",
     verb_inspect},
    {"repro", "repro diff A B | repro run DIR [--out DIR2]", "where two runs part; whether a run gives its bytes again",
     "", verb_repro, !kTakesOverrides, "--out", kRunsRecipes},
    {"download", "download ORG/NAME [--revision NAME]", "fetch a model into the Hugging Face cache, verified",
     "Continues where an earlier attempt broke off. Afterwards `model.path=ORG/NAME` finds it. HF_TOKEN, HF_HOME,\n"
     "HF_ENDPOINT, HTTPS_PROXY and SSL_CERT_FILE are honoured.\n",
     verb_download, !kTakesOverrides, "--revision"},
    {"doctor", "doctor", "versions, devices, limits, and what is missing", "", verb_doctor},
    {"help", "help [VERB]", "this text, or a verb's", "", verb_help_text},
};

// A recipe kind as verb.
constexpr Verb kKindAsVerb{.run = run_kind, .takes_overrides = true, .flags = "--fresh", .runs_recipes = true};

std::string kind_help(const std::string& kind) {
  return fmt::format(
      "prentice {0} [FILE.yaml] [section.key=value ...]\n  {1}\n\n`prentice explain {0}` lists its keys, `prentice "
      "init {0}` "
      "writes a starter recipe.\n",
      kind, describe_kind(kind));
}

// A flag or an override that a verb does not read is a mistake, as an unknown key is.
void check_words(const Arguments& a, const Verb& verb) {
  for (const auto& flag : a.own_flags) {
    if (fmt::format(" {} ", verb.flags).find(fmt::format(" {} ", flag)) == std::string::npos)
      fail(ExitCode::usage, fmt::format("{} has no effect with {}", flag, a.verb), "remove the flag");
  }
  if (!a.overrides.empty() && !verb.takes_overrides)
    fail(ExitCode::usage, fmt::format("{} has no effect with {}", a.overrides[0], a.verb), "remove the word");
}

int run_verb(const Arguments& arguments, const Verb& verb) {
  check_words(arguments, verb);
  if (verb.runs_recipes) load_cuda_plugin();
  return verb.run(arguments);
}

[[noreturn]] void fail_unknown_verb(const std::string& verb) {
  if (verb.ends_with(".yaml") || verb.ends_with(".yml")) {
    fail(ExitCode::usage, fmt::format("{} is a file, not a verb", verb), "prentice run " + verb);
  }
  const auto later = later_kinds();
  if (std::find(later.begin(), later.end(), verb) != later.end())
    fail(ExitCode::usage, verb + " is not in this version");
  if (const std::string loss = words_for_loss(verb); !loss.empty()) {
    fail(ExitCode::usage, verb + " is no verb but a loss", "did you mean prentice " + loss + "?");
  }
  std::vector<std::string> known = recipe_kinds();
  for (const auto& alias : kind_aliases()) known.emplace_back(alias.word);
  for (const auto& candidate : kVerbs) known.emplace_back(candidate.name);
  const std::string near = closest_match(verb, known);
  fail(ExitCode::usage, "unknown verb " + verb,
       near.empty() ? "`prentice --help` lists the verbs" : "did you mean " + near + "?");
}

// "  orpo       dpo with preference.loss: orpo".
std::string alias_lines() {
  std::string out;
  for (const auto& alias : kind_aliases()) {
    out += fmt::format("  {:<10} {} with preference.loss: {}\n", alias.word, alias.kind, word_of(alias.loss));
  }
  return out;
}

}  // namespace

std::span<const Verb> verbs() { return kVerbs; }

std::string general_help() {
  std::string out = fmt::format(
      "{}\nFine-tunes language models on one machine: adapters and full weights, GGUF out.\n\n", version_line());
  out += "prentice VERB [RECIPE.yaml] [section.key=value ...] [flags]\n\nVerbs\n";
  for (const auto& verb : kVerbs) out += fmt::format("  {:<10} {}\n", verb.name, verb.help);
  out += "\nRecipe kinds, as verbs too: prentice sft recipe.yaml optim.lr=1e-4\n";
  for (const auto& kind : recipe_kinds()) {
    if (kind != "generate") out += fmt::format("  {:<10} {}\n", kind, describe_kind(kind));
  }
  out += alias_lines();
  out += "\nFlags\n" + flags_help() +
         "\nExit codes  0 done, 1 a bug, 2 usage or recipe, 3 data, 4 model file, 5 storage, 6 numerical, 7 memory,\n"
         "            8 distributed, 9 gate not met, 130/143 stopped by a signal after a good checkpoint\n"
         "\nFirst steps\n"
         "  prentice run recipes/quickstart.yaml\n"
         "  prentice init sft data.train=tickets.csv\n";
  return out;
}

std::string verb_help(const Verb& verb) {
  return fmt::format("prentice {}\n  {}\n{}{}", verb.usage, verb.help, verb.more.empty() ? "" : "\n", verb.more);
}

int run_command(const Arguments& arguments) {
  if (arguments.version) {
    print_result(arguments.flags.json ? version_json().dump() + "\n" : version_line() + "\n");
    return 0;
  }
  if (!arguments.configs.empty()) override_configs(arguments.configs);
  if (arguments.verb.empty()) {
    if (!arguments.help && !arguments.overrides.empty()) {
      fail(ExitCode::usage, "a verb is missing before " + arguments.overrides[0],
           "for instance prentice sft " + arguments.overrides[0]);
    }
    if (arguments.help) return print_help(arguments, general_help());
    if (arguments.flags.json) fail(ExitCode::usage, "a verb is missing", "`prentice --help` lists the verbs");
    print_result(general_help());
    return static_cast<int>(ExitCode::usage);
  }
  for (const auto& verb : kVerbs) {
    if (verb.name != arguments.verb) continue;
    if (arguments.help) return print_help(arguments, verb_help(verb));
    return run_verb(arguments, verb);
  }
  const auto& kinds = recipe_kinds();
  const std::string kind(kind_behind(arguments.verb));
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) fail_unknown_verb(arguments.verb);
  if (arguments.help) return print_help(arguments, kind_help(kind));
  return run_verb(arguments, kKindAsVerb);
}

}  // namespace prentice

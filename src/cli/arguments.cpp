#include "cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/read.h"
#include "core/shell_word.h"

namespace prentice {

namespace {

enum class Read { everywhere, by_some_verbs };

// A flag, and where it goes: at most one of the members.
struct Flag {
  std::string_view name;
  std::string_view help;  // "" = told in the help of its verbs
  Read read = Read::everywhere;
  bool Arguments::*own = nullptr;
  bool Invocation::*of_run = nullptr;
  void (*take)(Arguments&, const std::string& value) = nullptr;  // of a flag with a value
};

void take_rows(Arguments& arguments, const std::string& value) {
  const auto rows = parse_integer(value);
  if (!rows || *rows < 1 || *rows > 1'000'000)
    fail(ExitCode::usage, "--rows: expected an integer of at least 1, got " + value);
  arguments.flags.rows = static_cast<int>(*rows);
}

constexpr Flag kFlags[] = {
    {.name = "--json", .help = "one JSON object to stdout, errors too", .of_run = &Invocation::json},
    {.name = "--quiet", .help = "no progress", .of_run = &Invocation::quiet},
    {.name = "-q", .help = "", .of_run = &Invocation::quiet},
    // --debug and --k8s-exit-codes shape what main prints; it reads them before anything can fail.
    {.name = "--debug", .help = "more about errors"},
    {.name = "--k8s-exit-codes", .help = ""},
    {.name = "--fresh",
     .help = "run: move what is in run.out aside",
     .read = Read::by_some_verbs,
     .of_run = &Invocation::fresh},
    {.name = "--configs",
     .help = "use this folder's files before the built-in configs",
     .take = [](Arguments& arguments, const std::string& value) { arguments.configs = value; }},
    {.name = "--trust-store",
     .help = "open a teacher store without reading it through for its hashes first",
     .of_run = &Invocation::trust_store},
    {.name = "--provenance", .help = "", .read = Read::by_some_verbs, .of_run = &Invocation::provenance},
    {.name = "--chat", .help = "", .read = Read::by_some_verbs, .of_run = &Invocation::chat},
    {.name = "--json-schema", .help = "", .read = Read::by_some_verbs, .own = &Arguments::json_schema},
    {.name = "--rows", .help = "", .read = Read::by_some_verbs, .take = take_rows},
    {.name = "--out",
     .help = "",
     .read = Read::by_some_verbs,
     .take = [](Arguments& arguments, const std::string& value) { arguments.out = value; }},
    {.name = "--revision",
     .help = "",
     .read = Read::by_some_verbs,
     .take = [](Arguments& arguments, const std::string& value) { arguments.revision = value; }},
    {.name = "--fit",
     .help = "",
     .read = Read::by_some_verbs,
     .take = [](Arguments& arguments, const std::string& value) { arguments.fit = value; }},
    {.name = "--help", .help = "", .own = &Arguments::help},
    {.name = "-h", .help = "", .own = &Arguments::help},
    {.name = "--version", .help = "", .own = &Arguments::version},
};
constexpr std::string_view kLaterFlags[] = {"--nproc"};

[[noreturn]] void fail_unknown(const std::string& word) {
  std::vector<std::string> known;
  for (const auto& flag : kFlags) known.emplace_back(flag.name);
  const std::string near = closest_match(word, known);
  fail(ExitCode::usage, "unknown flag " + word,
       near.empty() ? "`prentice --help` lists the flags" : "did you mean " + near + "?");
}

// Takes the flag at words[i] and its value, which stands behind a = or is the next word. Returns the next index.
size_t take_flag(Arguments& arguments, const std::vector<std::string>& words, size_t i) {
  const std::string& word = words[i];
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  if (std::ranges::find(kLaterFlags, name) != std::end(kLaterFlags))
    fail(ExitCode::usage, name + " is not in this version");
  const auto flag = std::ranges::find(kFlags, std::string_view(name), &Flag::name);
  if (flag == std::end(kFlags)) fail_unknown(name);
  if (!flag->take && equals != word.npos)
    fail(ExitCode::usage, fmt::format("{}: expected no value, got {}", name, word.substr(equals + 1)));
  if (flag->read == Read::by_some_verbs) arguments.own_flags.push_back(name);
  if (flag->own) arguments.*flag->own = true;
  if (flag->of_run) arguments.flags.*flag->of_run = true;
  if (!flag->take) return i + 1;
  const bool behind = equals == word.npos;
  const std::string value = !behind ? word.substr(equals + 1) : i + 1 < words.size() ? words[i + 1] : "";
  if (value.empty()) fail(ExitCode::usage, name + ": a value is missing", fmt::format("write {} VALUE", name));
  flag->take(arguments, value);
  return i + (behind ? 2 : 1);
}

}  // namespace

std::string flags_help() {
  std::string out;
  for (const auto& flag : kFlags) {
    if (flag.help.empty()) continue;
    out += fmt::format("  {:<18} {}\n", std::string(flag.name) + (flag.take ? " DIR" : ""), flag.help);
  }
  return out + "  --help, --version\n";
}

Arguments parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  arguments.flags.command = "prentice";
  for (const auto& word : words) arguments.flags.command += ' ' + shell_word(word);
  for (size_t i = 0; i < words.size();) {
    const std::string& word = words[i];
    if (word.size() >= 2 && word[0] == '-') {
      i = take_flag(arguments, words, i);
      continue;
    }
    ++i;
    if (is_override(word)) {
      arguments.overrides.push_back(word);
    } else if (arguments.verb.empty()) {
      arguments.verb = word;
    } else {
      arguments.words.push_back(word);
    }
  }
  return arguments;
}

}  // namespace prentice

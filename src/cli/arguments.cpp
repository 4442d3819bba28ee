#include "cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/read.h"
#include "core/shell_word.h"

namespace prentice {

namespace {

struct Switch {
  const char* name;
  bool Arguments::*member;
  bool Invocation::*flag;
};

constexpr Switch kSwitches[] = {
    {"--help", &Arguments::help, nullptr},
    {"-h", &Arguments::help, nullptr},
    {"--version", &Arguments::version, nullptr},
    {"--json-schema", &Arguments::json_schema, nullptr},
    {"--json", nullptr, &Invocation::json},
    {"--quiet", nullptr, &Invocation::quiet},
    {"-q", nullptr, &Invocation::quiet},
    {"--fresh", nullptr, &Invocation::fresh},
    {"--chat", nullptr, &Invocation::chat},
    {"--trust-store", nullptr, &Invocation::trust_store},
    // These shape what main prints; it reads them before anything can fail.
    {"--debug", nullptr, nullptr},
    {"--k8s-exit-codes", nullptr, nullptr},
};

constexpr const char* kValueFlags[] = {"--configs", "--rows", "--out", "--revision"};
constexpr const char* kLaterFlags[] = {"--fit", "--nproc"};

bool set_switch(Arguments& arguments, const std::string& word) {
  for (const auto& known : kSwitches) {
    if (word != known.name) continue;
    if (known.member) arguments.*known.member = true;
    if (known.flag) arguments.flags.*known.flag = true;
    return true;
  }
  return false;
}

void set_value(Arguments& arguments, const std::string& name, const std::string& value) {
  if (value.empty()) fail(ExitCode::usage, name + ": a value is missing", fmt::format("write {} VALUE", name));
  if (name == "--configs") arguments.configs = value;
  if (name == "--out") arguments.out = value;
  if (name == "--revision") arguments.revision = value;
  if (name != "--rows") return;
  const auto rows = parse_integer(value);
  if (!rows || *rows < 1 || *rows > 1'000'000)
    fail(ExitCode::usage, "--rows: expected an integer of at least 1, got " + value);
  arguments.flags.rows = static_cast<int>(*rows);
}

[[noreturn]] void fail_unknown(const std::string& word) {
  std::vector<std::string> known(std::begin(kValueFlags), std::end(kValueFlags));
  for (const auto& flag : kSwitches) known.emplace_back(flag.name);
  const std::string near = closest_match(word, known);
  fail(ExitCode::usage, "unknown flag " + word,
       near.empty() ? "`prentice --help` lists the flags" : "did you mean " + near + "?");
}

}  // namespace

Arguments parse_arguments(const std::vector<std::string>& words) {
  Arguments arguments;
  arguments.flags.command = "prentice";
  for (const auto& word : words) arguments.flags.command += ' ' + shell_word(word);
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.size() < 2 || word[0] != '-') {
      if (is_override(word)) {
        arguments.overrides.push_back(word);
      } else if (arguments.verb.empty()) {
        arguments.verb = word;
      } else {
        arguments.words.push_back(word);
      }
      continue;
    }
    if (set_switch(arguments, word)) continue;
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (std::find(std::begin(kLaterFlags), std::end(kLaterFlags), name) != std::end(kLaterFlags)) {
      fail(ExitCode::usage, name + " is not in this version");
    }
    if (std::find(std::begin(kValueFlags), std::end(kValueFlags), name) == std::end(kValueFlags)) fail_unknown(name);
    if (equals != word.npos) {
      set_value(arguments, name, word.substr(equals + 1));
    } else {
      set_value(arguments, name, i + 1 < words.size() ? words[i + 1] : "");
      ++i;
    }
  }
  return arguments;
}

}  // namespace prentice

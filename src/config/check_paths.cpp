// Every path, address and hardware name of a recipe must lead somewhere.
#include <fmt/format.h>

#include <algorithm>

#include "config/address.h"
#include "config/check.h"
#include "config/checker.h"
#include "config/configs.h"
#include "config/fields.h"
#include "hub/cache.h"

namespace prentice {

namespace {

class PathChecker {
 public:
  PathChecker(Checker& checker, std::string section, const ReadOptions& options)
      : checker_(checker), section_(std::move(section)), options_(options) {}

  void operator()(std::string_view key, const std::string& value, const About& about) { one(key, value, about); }
  void operator()(std::string_view key, const std::vector<WeightedFile>& value, const About& about) {
    for (const auto& file : value) one(key, file.path, about);
  }
  template <class T>
  void operator()(std::string_view, const T&, const About&) {}
  void reserved(std::string_view, std::string_view) {}

 private:
  void one(std::string_view key, const std::string& value, const About& about) {
    const std::string full = section_ + "." + std::string(key);
    if (value.empty() || !checker_.has(full)) return;
    if (value.find("${steps.") != std::string::npos) {
      if (!options_.in_pipeline) checker_.mistake(full, "${steps.NAME.out} has a value only as a step of a pipeline");
      return;
    }
    const PathKind kind = about.path;
    if ((kind == PathKind::if_address || kind == PathKind::if_adapter) && is_choice(about, value)) return;
    if (kind == PathKind::none || kind == PathKind::output || (kind == PathKind::if_path && value == "auto")) return;
    if (is_server(about, value)) return check_server(full, value);
    if (kind == PathKind::address || kind == PathKind::if_address) {
      if (!address_exists(value, options_.promised)) missing_address(full, value);
      return;
    }
    std::error_code error;
    if (std::filesystem::exists(value, error) || is_promised(value, options_.promised) || read_embedded(value)) return;
    missing_file(full, value, about);
  }
  void check_server(const std::string& full, const std::string& value) {
    constexpr std::string_view kScheme = "http://";
    if (value.starts_with(kScheme) && value.size() > kScheme.size()) return;
    checker_.mistake(full, "expected a file or http://HOST:PORT, got " + value,
                     "plain http; a server behind TLS is reached through a tunnel");
  }
  void missing_file(const std::string& full, const std::string& value, const About& about) {
    if (about.path == PathKind::if_adapter && value[0] != '/') {
      return checker_.mistake(full, value + " is no folder, and not in the Hugging Face cache",
                              missing_model_hint(value));
    }
    std::vector<std::string> words;
    for (const auto& choice : about.choices) words.emplace_back(choice.word);
    const std::string near = closest_match(std::filesystem::path(value).filename().string(), words);
    checker_.mistake(full, "no such file: " + value, near.empty() ? "" : "did you mean " + near + "?");
  }
  void missing_address(const std::string& full, const std::string& value) {
    std::vector<std::string> shapes;
    for (const auto& path : list_configs("models/")) shapes.push_back(std::filesystem::path(path).stem().string());
    if (value[0] != '/') {
      checker_.mistake(full, "no such model: " + value + " is not in the Hugging Face cache",
                       is_hub_name(value) ? missing_model_hint(value)
                                          : "set it to a model folder, for instance model.path=/models/NAME");
      return;
    }
    const std::string name = std::filesystem::path(value).filename().string();
    if (std::filesystem::exists(value + ".rejected")) {
      checker_.mistake(full, "no such model: " + value,
                       "a verification refused it and kept it as " + name + ".rejected; its verify.json says why");
      return;
    }
    const std::string near = closest_match(name, shapes);
    checker_.mistake(full, "no such model: " + value,
                     near.empty()
                         ? "a Hugging Face folder, ORG/NAME in the cache, runs/NAME or a name under configs/models"
                         : "did you mean the shape " + near + "?");
  }

  Checker& checker_;
  std::string section_;
  const ReadOptions& options_;
};

}  // namespace

template <class R>
void check_paths(R& r, const ReadOptions& options, RecipeMistakes& mistakes) {
  Checker c(r, mistakes);
  sections([&](const char* name, auto& section) { fields(PathChecker(c, name, options), section); }, r);
  if constexpr (requires { r.plan; }) {
    const std::string& hardware = r.plan.hardware;
    if (hardware.empty() || read_config("hardware/" + hardware + ".yaml")) return;
    std::vector<std::string> names;
    for (const auto& path : list_configs("hardware/")) names.push_back(std::filesystem::path(path).stem().string());
    const std::string near = closest_match(hardware, names);
    c.mistake("plan.hardware", "no such machine: " + hardware,
              near.empty() ? "the names are those under configs/hardware" : "did you mean " + near + "?");
  }
}

#define PRENTICE_CHECKS(R) template void check_paths<R>(R&, const ReadOptions&, RecipeMistakes&);
PRENTICE_KINDS(PRENTICE_CHECKS)
#undef PRENTICE_CHECKS

}  // namespace prentice

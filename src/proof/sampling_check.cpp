#include "proof/sampling_check.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string>
#include <variant>

#include "core/error.h"
#include "io/json.h"
#include "proof/same_number.h"

namespace prentice {

namespace {

struct Setting {
  const char* key;               // general.sampling.KEY, one of those that llama.cpp reads
  const char* member;            // of generation_config.json, as convert_hf_to_gguf takes it
  const char* neutral;           // what changes nothing
  const char* usual;             // what transformers takes where nothing is said
  const char* beside = nullptr;  // the key without which it does nothing
  bool is_number = true;         // else names of samplers, of which "infill" begins as infinity does
};
constexpr Setting kSettings[] = {
    {"temp", "temperature", "1", "1"},
    {"top_k", "top_k", "0", "50"},
    {"top_p", "top_p", "1", "1"},
    {"min_p", "min_p", "0", "0"},
    {"xtc_probability", "xtc_probability", "0", "0"},
    {"xtc_threshold", "xtc_threshold", "", "", "general.sampling.xtc_probability"},
    {"penalty_repeat", "repetition_penalty", "1", "1"},
    {"penalty_last_n", "penalty_last_n", "0", "0", "general.sampling.penalty_repeat"},
    {"mirostat", "mirostat", "0", "0"},
    {"mirostat_tau", "mirostat_tau", "", "", "general.sampling.mirostat"},
    {"mirostat_eta", "mirostat_eta", "", "", "general.sampling.mirostat"},
    {"sequence", "sequence", "", "", nullptr, false},
};

// As llama.cpp reads it, which takes a number out of a text, too.
std::optional<std::string> text_of(const GgufValue* value) {
  if (value == nullptr) return std::nullopt;
  return std::visit(
      [](const auto& held) -> std::string {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, GgufArray>) {
          return "a list";
        } else {
          return fmt::format("{}", held);
        }
      },
      *value);
}

bool same(const Setting& setting, const std::string& a, const std::string& b) {
  double x = 0, y = 0;
  const auto is_number = [](const std::string& text, double& out) {
    return std::from_chars(text.data(), text.data() + text.size(), out).ec == std::errc();
  };
  if (!setting.is_number || !is_number(a, x) || !is_number(b, y)) return a == b;
  return same_number(x, y);
}

// What the model says of it; nullopt: nothing.
class Said {
 public:
  explicit Said(const std::filesystem::path& model) {
    if (is_gguf_file(model)) {
      file_ = GgufReader::open(model);
    } else if (const auto path = model / "generation_config.json"; std::filesystem::exists(path)) {
      config_ = with_context(ExitCode::model, "", [&] { return Json::parse_file(path); });
      if (!config_.is_object()) fail(ExitCode::model, path.string() + ": expected an object");
    }
  }
  std::optional<std::string> of(const Setting& setting) const {
    if (file_) return text_of(file_->find(std::string("general.sampling.") + setting.key));
    if (config_.is_null()) return std::nullopt;  // there is no such file
    for (const char* name : {setting.key, setting.member}) {
      const Json* found = config_.find(name);
      if (found == nullptr || found->is_null()) continue;
      return found->is_string() ? found->as_string() : found->dump();
    }
    return std::nullopt;
  }

 private:
  std::optional<GgufReader> file_;
  Json config_;
};

}  // namespace

Check sampling_check(const GgufReader& file, const std::filesystem::path& model) {
  std::string given;
  std::optional<Said> said;
  for (const Setting& setting : kSettings) {
    const std::string key = std::string("general.sampling.") + setting.key;
    const auto found = text_of(file.find(key));
    if (!found || (setting.beside != nullptr && file.find(setting.beside) == nullptr)) continue;
    if (!said) said.emplace(model);
    const auto own = said->of(setting);
    const auto is = [&](const std::string& text) { return same(setting, text, *found); };
    if (own ? is(*own) : is(setting.neutral) || is(setting.usual)) {
      given += fmt::format("{}{} {}", given.empty() ? "" : ", ", setting.key, *found);
      continue;
    }
    return equal_check(
        "sampling", false,
        fmt::format("{}: llama.cpp samples with {}, and the model says {}", key, *found, own ? *own : "nothing of it"));
  }
  return equal_check("sampling", true, given);
}

}  // namespace prentice

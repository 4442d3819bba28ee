#include "proof/sampling_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "core/error.h"
#include "io/json.h"
#include "proof/artifact_reading.h"
#include "proof/same_number.h"

namespace prentice {

namespace fs = std::filesystem;

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
    {"xtc_threshold", "xtc_threshold", "", "", "xtc_probability"},
    {"penalty_repeat", "repetition_penalty", "1", "1"},
    {"penalty_last_n", "penalty_last_n", "0", "0", "penalty_repeat"},
    {"mirostat", "mirostat", "0", "0"},
    {"mirostat_tau", "mirostat_tau", "", "", "mirostat"},
    {"mirostat_eta", "mirostat_eta", "", "", "mirostat"},
    {"sequence", "sequence", "", "", nullptr, false},
};
// What else changes the tokens that transformers takes, of which llama.cpp reads nothing.
constexpr Setting kFolderSettings[] = {
    {"suppress_tokens", "suppress_tokens", "[]", "", nullptr, false},
    {"begin_suppress_tokens", "begin_suppress_tokens", "[]", "", nullptr, false},
    {"bad_words_ids", "bad_words_ids", "[]", "", nullptr, false},
    {"sequence_bias", "sequence_bias", "[]", "{}", nullptr, false},
    {"forced_bos_token_id", "forced_bos_token_id", "", ""},
    {"forced_eos_token_id", "forced_eos_token_id", "", ""},
    {"stop_strings", "stop_strings", "[]", "", nullptr, false},
    {"no_repeat_ngram_size", "no_repeat_ngram_size", "0", "0"},
    {"encoder_no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "0", "0"},
    {"encoder_repetition_penalty", "encoder_repetition_penalty", "1", "1"},
    {"exponential_decay_length_penalty", "exponential_decay_length_penalty", "", "", nullptr, false},
    {"min_length", "min_length", "0", "0"},
    {"min_new_tokens", "min_new_tokens", "0", "0"},
    {"typical_p", "typical_p", "1", "1"},
    {"epsilon_cutoff", "epsilon_cutoff", "0", "0"},
    {"eta_cutoff", "eta_cutoff", "0", "0"},
    {"top_h", "top_h", "1", "1"},
    {"penalty_alpha", "penalty_alpha", "0", "0"},
    {"guidance_scale", "guidance_scale", "1", "1"},
    {"watermarking_config", "watermarking_config", "", "", nullptr, false},
    {"num_beams", "num_beams", "1", "1"},
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

// What somebody says of it; nullopt: nothing.
using Said = std::function<std::optional<std::string>(const Setting&)>;

std::string gguf_key(const Setting& setting) { return std::string("general.sampling.") + setting.key; }

// The file must outlive it.
Said said_by(const GgufReader& file) {
  return [&file](const Setting& setting) { return text_of(file.find(gguf_key(setting))); };
}

Said said_by_file(const fs::path& path) {
  if (!fs::exists(path)) return [](const Setting&) { return std::nullopt; };
  const Json config = with_context(ExitCode::model, "", [&] { return Json::parse_file(path); });
  if (!config.is_object()) fail(ExitCode::model, path.string() + ": expected an object");
  return [config](const Setting& setting) -> std::optional<std::string> {
    for (const char* name : {setting.key, setting.member}) {
      const Json* found = config.find(name);
      if (found == nullptr || found->is_null()) continue;
      return found->is_string() ? found->as_string() : found->dump();
    }
    return std::nullopt;
  };
}

Said said_by_folder(const fs::path& folder) { return said_by_file(folder / "generation_config.json"); }

// Older models say it in config.json, of which transformers makes a generation_config.json when it saves them again.
bool is_said_in_config(const fs::path& model, const Setting& setting, const std::string& value) {
  if (is_gguf_file(model)) return false;
  const auto own = said_by_file(model / "config.json")(setting);
  return own && same(setting, *own, value);
}

Said said_by_model(const fs::path& model) {
  if (!is_gguf_file(model)) return said_by_folder(model);
  const auto file = std::make_shared<const GgufReader>(GgufReader::open(model));
  return [file, said = said_by(*file)](const Setting& setting) { return said(setting); };
}

const Setting* setting_beside(const Setting& setting) {
  if (setting.beside == nullptr) return nullptr;
  return std::ranges::find_if(kSettings,
                              [&](const Setting& one) { return std::string_view(one.key) == setting.beside; });
}

// `key_of` says where a setting stands, `server` who obeys it.
Check check(std::span<const Setting> settings, const Said& found, const fs::path& model,
            const std::function<std::string(const Setting&)>& key_of, std::string_view server) {
  std::string given;
  Said said;
  for (const Setting& setting : settings) {
    const auto value = found(setting);
    const Setting* beside = setting_beside(setting);
    if (!value || (beside != nullptr && !found(*beside))) continue;
    if (!said) said = said_by_model(model);
    const auto own = said(setting);
    const auto is = [&](const std::string& text) { return same(setting, text, *value); };
    if (own ? is(*own) : is(setting.neutral) || is(setting.usual) || is_said_in_config(model, setting, *value)) {
      given += fmt::format("{}{} {}", given.empty() ? "" : ", ", setting.key, *value);
      continue;
    }
    return equal_check("sampling", false,
                       fmt::format("{}: {} with {}, and the model says {}", key_of(setting), server, *value,
                                   own ? *own : "nothing of it"));
  }
  return equal_check("sampling", true, given);
}

}  // namespace

Check sampling_check(const GgufReader& file, const fs::path& model) {
  return check(kSettings, said_by(file), model, gguf_key, "llama.cpp samples");
}

Check sampling_check(const fs::path& folder, const fs::path& model) {
  const Said said = reading_artifact([&] { return said_by_folder(folder); });
  const auto key_of = [](const Setting& setting) { return std::string("generation_config.json: ") + setting.member; };
  const Check sampled = check(kSettings, said, model, key_of, "vLLM and transformers sample");
  const Check taken = check(kFolderSettings, said, model, key_of, "transformers generates");
  if (!sampled.passed || !taken.passed) return sampled.passed ? taken : sampled;
  const bool some = !sampled.detail.empty() && !taken.detail.empty();
  return equal_check("sampling", true, sampled.detail + (some ? ", " : "") + taken.detail);
}

}  // namespace prentice

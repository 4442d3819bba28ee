#include "recipes/verify_sides.h"

#include <fmt/format.h>

#include "config/address.h"
#include "core/error.h"
#include "export/gguf_adapter.h"
#include "io/gguf.h"
#include "proof/artifact_reading.h"
#include "proof/llama_cpp_library.h"
#include "proof/llama_server.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void refuse(std::string_view key, const std::string& address, std::string_view why, std::string hint) {
  fail(ExitCode::usage, fmt::format("{}: {} {}", key, address, why), std::move(hint));
}

// The path of the artifact where `address` is one: what is renamed is the link that the user named, not its target.
fs::path named_path(const std::string& address, const fs::path& file) {
  fs::path path = fs::absolute(parse_address(fs::current_path(), address).path);
  if (!path.has_filename()) path = path.parent_path();  // FOLDER/
  const bool has_name = path.has_filename() && path.filename() != "." && path.filename() != "..";
  std::error_code error;
  if (!has_name || !fs::equivalent(path, file, error)) return file;  // of a run, or of the cache
  return fs::weakly_canonical(path.parent_path()) / path.filename();
}

// A file that cannot be read is no adapter, and is refused when it is looked at.
bool is_adapter_file(const std::filesystem::path& file) {
  try {
    return is_gguf_adapter(file);
  } catch (const Error& error) {
    if (error.code() == ExitCode::model) return false;
    throw;
  }
}

}  // namespace

ModelShape open_verify_model(const VerifySection& section) {
  ModelShape model = open_shape({.path = section.model}, "verify.model");
  require_weights("verify.model", model.artifact, "name the folder of a model, or a run");
  if (model.spec.labels > 0) {
    refuse("verify.model", section.model, "is a reward model, which gives a score and no words",
           "`recipe: compare` with eval.tasks=[preference] compares scores");
  }
  return model;
}

VerifySides open_verify_sides(const VerifySection& section) {
  VerifySides sides{.model = open_verify_model(section),
                    .artifact = resolve_artifact(section.artifact, "verify.artifact"),
                    .file = {},
                    .named = {},
                    .kind = ArtifactKind::folder};
  const Artifact &model = sides.model.artifact, &artifact = sides.artifact;
  require_weights("verify.artifact", artifact, "name a GGUF file, a merged folder or an adapter");
  const bool is_peft = !artifact.adapter.empty(), is_gguf = !is_peft && is_gguf_file(artifact.base);
  sides.file = is_peft ? artifact.adapter : artifact.base;
  sides.named = named_path(section.artifact, sides.file);
  if (is_peft) sides.kind = ArtifactKind::peft;
  if (is_gguf) sides.kind = is_adapter_file(sides.file) ? ArtifactKind::gguf_adapter : ArtifactKind::gguf;
  const bool is_adapter = is_peft || sides.kind == ArtifactKind::gguf_adapter;
  if (is_adapter && model.adapter.empty()) {
    fail(ExitCode::usage, "verify.artifact: " + section.artifact + " is an adapter, and verify.model has none",
         "verify.model=BASE+ADAPTER");
  }
  if (is_adapter || !is_gguf_file(model.base)) return sides;
  if (is_gguf) {
    refuse("verify.model", section.model, "is a GGUF file, which only an adapter was made of",
           "name the folder that it was made of");
  }
  refuse("verify.model", section.model, "is a GGUF file, of which no folder is made",
         "name the model that the file was made of");
}

std::optional<Tokenizer> own_tokenizer(const fs::path& folder) {
  if (!has_tokenizer(folder)) return std::nullopt;
  return reading_artifact([&] { return Tokenizer::load(folder); });
}

bool names_server(const VerifySection& section) { return section.llama_cpp.find("://") != std::string::npos; }

CallWitness open_witness(const VerifySection& section, const Opened& model, ArtifactKind kind) {
  constexpr std::string_view kKey = "verify.llama_cpp";
  if (section.llama_cpp.empty()) return {};
  if (kind == ArtifactKind::folder || kind == ArtifactKind::peft) {
    fail(ExitCode::usage, fmt::format("{}: {} is a folder, and llama.cpp reads GGUF files", kKey, section.artifact),
         "remove the key, or verify a GGUF file");
  }
  if (kind == ArtifactKind::gguf_adapter && !is_gguf_file(model.artifact.base)) {
    fail(ExitCode::usage,
         fmt::format("{}: llama.cpp puts {} on a GGUF file, and the base of {} is a folder", kKey, section.artifact,
                     section.model),
         "verify.model=BASE.gguf+ADAPTER, where BASE.gguf is what will be served with the adapter");
  }
  if (names_server(section)) return llama_server(section.llama_cpp, kKey);
  return llama_cpp_library(section.llama_cpp, model.machine.threads, kKey);
}

}  // namespace prentice

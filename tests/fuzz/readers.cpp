// Readers of containers, values, tokenizers and of a GGUF file as a model.
#include <ATen/ops/empty.h>

#include "fuzz/targets.h"
#include "io/gguf.h"
#include "io/importance_matrix.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/gguf_load.h"
#include "model/gguf_spec.h"
#include "text/gguf_vocabulary.h"

namespace prentice::fuzz {

namespace {

void read_container(std::span<const std::byte> bytes) {
  expecting({ExitCode::model}, [&] {
    for (const auto& entry : parse_gguf(bytes, "input").metadata) {
      const auto* list = std::get_if<GgufArray>(&entry.value);
      if (list == nullptr) continue;
      if (list->type == GgufType::string) list->strings();
      if (list->type == GgufType::f32) list->floats();
      if (list->type == GgufType::i32 || list->type == GgufType::u32)
        expecting({ExitCode::model}, [&] { list->integers(); });
    }
  });
}

void read_vocabulary(std::span<const std::byte> bytes) {
  const MemoryFile file(bytes);
  expecting({ExitCode::model, ExitCode::malformed}, [&] {
    const GgufVocabulary vocabulary = read_gguf_vocabulary(file.path());
    constexpr std::string_view kText = "ab the<tool>\u00fc <|end|>1";
    const auto encoded = vocabulary.backend->encode({&kText, 1}, true, true, 1);
    vocabulary.backend->decode(encoded.at(0).ids, false);
    vocabulary.backend->tables();
  });
}

void read_model(std::span<const std::byte> bytes) {
  const MemoryFile file(bytes);
  expecting({ExitCode::model}, [&] {
    const GgufReader reader = GgufReader::open(file.path());
    const ModelSpec spec = read_gguf_spec(reader);
    for (const auto& tensor : match_gguf(spec, reader)) copy_gguf_values(tensor, spec, at::empty(tensor.shape));
  });
}

void read_matrix(std::span<const std::byte> bytes) {
  const MemoryFile file(bytes);
  expecting({ExitCode::model}, [&] {
    const ImportanceMatrix matrix = read_importance(file.path());
    for (const auto& [name, entry] : matrix.entries) entry.means();
  });
}

void read_safetensors(std::span<const std::byte> bytes) {
  const MemoryFile file(bytes);
  expecting({ExitCode::model}, [&] { SafetensorsFile::open(file.path()); });
}

void read_json(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  expecting({ExitCode::malformed}, [&] {
    const Json value = Json::parse(text);
    if (Json::parse(value.dump()).dump() != value.dump()) std::abort();
  });
}

const Registered kTargets[] = {
    Registered({"gguf", true, read_container}), Registered({"vocabulary", true, read_vocabulary}),
    Registered({"model", true, read_model}),    Registered({"importance", true, read_matrix}),
    Registered({"json", false, read_json}),     Registered({"safetensors", false, read_safetensors}),
};

}  // namespace

}  // namespace prentice::fuzz

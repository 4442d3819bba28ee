// From a `model` section to what is known of that model before its weights load. By the section and not by the recipe,
// because a recipe may name several models, each with its own place to run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "adapter/qat.h"
#include "artifact/artifact.h"
#include "artifact/machine.h"
#include "config/schema.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace prentice {

inline constexpr const char* kMakesWeights = "model.init=random makes weights";

// What an address leads to and the shape of the model there, with the vocabulary of its adapter: no tokenizer, no
// weights.
struct ModelShape {
  Artifact artifact;
  ModelSpec spec;
  bool promised = false;  // an earlier step of the pipeline will make this model; until then it is the shape alone
};

struct Opened {
  Machine machine;
  Artifact artifact;
  ModelSpec spec;
  Tokenizer tokenizer;
  bool random = false;  // the weights are made, not read
  Quantize quantize = Quantize::none;
};

// `key` names the model in a recipe. Errors: those of resolve_model and read_spec.
ModelShape open_shape(const ModelSection&, std::string_view key = "model.path");

// Errors: also `usage` when there is no tokenizer, `model` when it makes ids the model has no row for.
Opened open_model(const ModelSection&, const Machine&, std::string_view key = "model.path");
Opened open_model(ModelShape, const ModelSection&, const Machine&);

// The tokenizer of an artifact with `more` tokens. Errors: those of open_model.
Tokenizer open_tokenizer(const Artifact&, const ModelSpec&, const std::vector<AddedToken>& more = {});

// Errors: `usage`, told of `key`, when the artifact is shapes alone; `hint` says what has weights.
void require_weights(const std::string& key, const Artifact&, const std::string& hint);

// The weights in memory, with the spec's vocabulary and the artifact's adapter attached; of a run with adapter.qat as
// its file holds them, which is what it trained. `seed` is for those that are made; the last says what waits on the
// host, of an artifact without adapter. Errors: `usage` when the artifact is shapes alone and its weights are to be
// read, and where run.precision or model.quantize would round before the file does; `model`.
Model load_weights(const Opened&, uint64_t seed, HostEnds = {});

// What the file of such a run holds of each matrix of `spec`; empty for every other artifact.
ServedTypes served_by(const Artifact&, const ModelSpec&);

// How its layers are held: as the section asks, or as a folder in four bits has them.
Quantize quantize_of(const ModelSection&, const ModelSpec&);

// What weights take in memory.
int64_t held_bytes(const ModelSpec&, c10::ScalarType dtype, Quantize);

}  // namespace prentice

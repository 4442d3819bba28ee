// Whether the passes of a run's steps are recorded as CUDA graphs (train.graph), and what records them.
#pragma once

#include <string>

#include "config/kinds.h"
#include "model/spec.h"
#include "train/step_runner.h"

namespace prentice {

// Why they cannot be, by the recipe and by the model; "" = they can. A recording does again what was launched: what
// the host decides anew for every step, from lengths or the step's number, cannot be in it.
template <class Recipe>  // a kind that trains
std::string no_graph_by_recipe(const Recipe& recipe, bool is_gpu);
std::string no_graph_by_model(const ModelSpec& spec, c10::ScalarType dtype);

// Weights of a model whose launches may cost more than what they launch.
inline constexpr int64_t kGraphParameters = 3'000'000'000;

// Fills train.graph where it is `auto`: `wins` where it can be. Errors: `usage` where it was asked for and cannot be.
template <class Recipe>
void decide_graph(Recipe& recipe, const ModelSpec& spec, c10::ScalarType dtype, bool is_gpu, bool wins);

PassRecorder graph_recorder(at::Device device);

}  // namespace prentice

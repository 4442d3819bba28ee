#include "job/graph.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/cuda_graph.h"

namespace prentice {

template <class Recipe>
std::string no_graph_by_recipe(const Recipe& recipe, bool is_gpu) {
  if (!is_gpu) return "CUDA graphs are recorded on a GPU, and this runs on the CPU";
  if constexpr (!std::is_same_v<Recipe, SftRecipe> && !std::is_same_v<Recipe, PretrainRecipe>) {
    return "only the steps of sft and pretrain are recorded";
  }
  if (!recipe.data.packing) return "rows of one length are packed ones, and data.packing is false";
  if (recipe.train.offload == true) return "what moves to the host and back is not recorded (train.offload)";
  if constexpr (requires { recipe.adapter; }) {
    if (recipe.adapter.dropout > 0) return "the mask of adapter.dropout is another in every step";
    if (recipe.adapter.qat != "none") return "adapter.qat rounds the weights anew in every step";
  }
  return "";
}

std::string no_graph_by_model(const ModelSpec& spec, c10::ScalarType dtype) {
  if (dtype != c10::kBFloat16) return "attention in this precision runs sequence by sequence (run.precision=bf16)";
  if (spec.attention_softcap > 0) return "this model's attention is soft-capped and runs sequence by sequence";
  const auto by_length = [](const RopeSpec& rope) { return rope.kind == RopeKind::longrope; };
  if (std::any_of(spec.ropes.begin(), spec.ropes.end(), by_length)) {
    return "this model's rotary embedding is chosen by the length of each sequence";
  }
  return "";
}

template <class Recipe>
void decide_graph(Recipe& recipe, const ModelSpec& spec, c10::ScalarType dtype, bool is_gpu, bool wins) {
  std::string why = no_graph_by_recipe(recipe, is_gpu);
  if (why.empty()) why = no_graph_by_model(spec, dtype);
  auto& graph = recipe.train.graph;
  if (!graph) graph = why.empty() && wins;
  if (*graph && !why.empty()) fail(ExitCode::usage, "train.graph: " + why, "train.graph=false, or leave it out");
}

PassRecorder graph_recorder(at::Device device) {
  return {.warm_up = [device](const std::function<void()>& pass) { run_on_side_stream(device, pass); },
          .record = [device](const std::function<void()>& pass,
                             std::string& reason) { return record_graph(device, pass, reason); }};
}

#define PRENTICE_GRAPHS(R)                                           \
  template std::string no_graph_by_recipe<R>(const R&, bool is_gpu); \
  template void decide_graph<R>(R&, const ModelSpec&, c10::ScalarType, bool, bool);
PRENTICE_TRAINING_KINDS(PRENTICE_GRAPHS)
#undef PRENTICE_GRAPHS

}  // namespace prentice

// What a run is, for its run.json: alike for every kind that works on a model.
#pragma once

#include <string>

#include "artifact/artifact.h"
#include "artifact/inputs.h"
#include "config/invocation.h"
#include "config/kinds.h"
#include "config/read.h"
#include "run/run_folder.h"

namespace prentice {

// `recipe` has nothing undecided, `artifact` is its model, `device` the name of what computes.
template <class R>
RunDescription describe_run(const R& recipe, const Artifact& artifact, const std::string& device,
                            const Invocation& invocation) {
  std::vector<std::string> parents = {artifact.address};
  if constexpr (requires { recipe.compare; }) parents.push_back(recipe.compare.b);
  if constexpr (requires { recipe.verify; }) parents.push_back(recipe.verify.artifact);
  if constexpr (requires { recipe.distill; }) parents.push_back(recipe.distill.teacher);
  return {.kind = std::string(R::kKind),
          .command = invocation.command,
          .device = device,
          .recipe = to_yaml(to_node(recipe)),
          .seed = recipe.run.seed,
          .threads = *recipe.run.threads,
          .inputs = inputs_of(recipe, artifact),
          .parents = std::move(parents),
          .pipeline = invocation.pipeline};
}

}  // namespace prentice

// Dispatch by kind: a new recipe, and one that goes on.
#include "recipes/programs.h"

#include "artifact/machine.h"
#include "config/read.h"
#include "core/error.h"
#include "recipes/validate.h"
#include "run/run_folder.h"

namespace prentice {

int run_recipe(const Invocation& invocation) {
  if (!invocation.inner) {
    note_bare_program();
    if (invocation.kind != PipelineRecipe::kKind) validate_recipe(invocation.recipe);
  }
  return with_kind(invocation.kind,
                   [&]<class R>() { return run_program(read_recipe<R>(invocation.recipe), invocation); });
}

int resume_run(const std::filesystem::path& folder, const Invocation& invocation) {
  if (run_state(folder) == RunState::fresh || !std::filesystem::exists(folder / "recipe.yaml")) {
    fail(ExitCode::usage, folder.string() + ": there is no run to resume here",
         "`prentice run RECIPE.yaml` starts one");
  }
  Invocation again = invocation;
  again.file = (folder / "recipe.yaml").string();
  again.recipe = read_recipe_file(again.file, {"run.out=" + std::filesystem::absolute(folder).string()});
  again.kind = recipe_kind(again.recipe);
  return run_recipe(again);
}

}  // namespace prentice

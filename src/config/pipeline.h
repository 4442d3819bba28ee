// From a pipeline's list of files to recipes of their own: overrides, inherited run keys, ${steps.NAME.out}.
#pragma once

#include <string>
#include <vector>

#include "config/read.h"
#include "config/values.h"

namespace prentice {

// expand_steps of config/read.h that reports into `mistakes`; a step that cannot be read is left out.
std::vector<ExpandedStep> expand_steps(const Node& pipeline, RecipeMistakes& mistakes);

// The pipeline's own keys, paths unchecked.
PipelineRecipe bind_pipeline(const Node& pipeline, RecipeMistakes& mistakes);

// Lays `value` over the key "section.key" (or deeper: "section.key.name" in a key that is a map) of `recipe`.
void set_key(Node& recipe, const std::string& key, Node value, const Position& position);

// The same, unless the key has a value already.
void set_default(Node& recipe, const std::string& key, Node value);

}  // namespace prentice

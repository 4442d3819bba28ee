// What a pipeline has achieved, step by step: the screen and the page at its end.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/invocation.h"
#include "config/read.h"
#include "eval/scored_answers.h"
#include "pages/report.h"

namespace prentice {

struct StoryStep {
  std::string name, kind;
  std::filesystem::path out;
  std::string line;  // "loss 5.54 -> 1.92", "14.0 % of 200"
};

struct Story {
  std::vector<StoryStep> steps;
  std::vector<ComparedAnswer> examples;  // of the first and the last evaluation
  std::filesystem::path model;           // the last trained step's run; empty = none
  std::string asking;                    // asking_words of it, under the pipeline's own address
  std::filesystem::path gguf;            // a file to serve; empty = none
};

// `out` is the pipeline's own folder.
Story tell(const std::vector<ExpandedStep>& steps, const std::filesystem::path& out);
Report story_report(const Story&, const std::filesystem::path& out);
void print_story(const Story&, const std::filesystem::path& out, double seconds, const Invocation&);

}  // namespace prentice

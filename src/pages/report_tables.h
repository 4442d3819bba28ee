// Tables that a report.html of more than one kind of run holds.
#pragma once

#include <filesystem>
#include <vector>

#include "eval/scored_answers.h"
#include "pages/report.h"

namespace prentice {

// Weights and GGUF files below `folders` with bytes and hashes, named from `root`: for the page of a run.
ReportTable files_table(const std::filesystem::path& root, const std::vector<std::filesystem::path>& folders);

// The first dozen.
ReportTable compared_answers_table(const std::vector<ComparedAnswer>& answers);

}  // namespace prentice

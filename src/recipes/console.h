// What the programs print for a person (stderr while they work, results on stdout), and the JSON twin of each.
#pragma once

#include <filesystem>
#include <string>

#include "config/invocation.h"
#include "recipes/plan.h"
#include "recipes/products.h"
#include "train/run_folder.h"

namespace prentice {

void print_already_done(const std::filesystem::path& out, const Invocation&);
// "verified: ..." and a line per product with its size.
void print_products(const Products&, const std::filesystem::path& out, const Invocation&);
// Errors: `memory`, saying what is needed, what is there, and the smallest change that fits.
[[noreturn]] void refuse_plan(const Plan&);

// What a run folder of another recipe means for this invocation: refused by hand, moved aside by a pipeline.
IfDifferent run_policy(const Invocation&);

}  // namespace prentice

// What a run is made from, and whether two of them are the same run: the question before anything is continued.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/json.h"
#include "run/input_hashes.h"

namespace prentice {

struct Provenance {
  std::string recipe;  // resolved YAML text
  std::vector<InputHash> inputs;
  std::string order;  // SHA-256 of all ids and the order of the run; "" = not known yet
  int64_t world_size = 1;
  int64_t threads = 0;  // 0 = not known yet
  std::string binary;   // SHA-256 of the program; another one is worth a warning, not a refusal
};

// SHA-256 of this program's file.
std::string binary_sha256();

// The recipe is left out: it lies beside as recipe.yaml. Its hash is there.
Json to_json(const Provenance& provenance);
Provenance provenance_from(const Json& json, std::string recipe);  // errors: `malformed`

// section.key -> value as text, of every key of a resolved recipe that decides the result: not run.out, run.log_every
// and plan.*.
std::map<std::string, std::string> deciding_values(const std::string& recipe);

// SHA-256 of the recipe without run.out, run.log_every and plan.*, which do not decide the result.
std::string recipe_sha256(const std::string& recipe);

// "optim.lr: 0.0002 (now 0.001)" for every key in which `now` parts from `before`. A path that moved but whose content
// has the same hash is no difference; parts that one side does not know are not compared.
std::vector<std::string> differences(const Provenance& before, const Provenance& now);

// Errors: `usage` naming every differing key of `what` ("runs/x, step 120").
void require_same(const Provenance& before, const Provenance& now, const std::string& what);

}  // namespace prentice

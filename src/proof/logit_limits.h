// How far the logits of a file may be from its model's, by type and number of parameters.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "config/schema.h"
#include "io/gguf.h"
#include "proof/check.h"
#include "proof/logit_proof.h"

namespace prentice {

using GivenLimits = std::map<std::string, LogitLimits>;  // by type, in place of the table's

struct LogitBound {
  std::string type;    // of config/words.h, kLimited
  double kld = 0;      // mean, nats, at most
  double top1 = 0;     // at least
  std::string origin;  // where the numbers come from, for people
};

// What `limits` says of the type; the rest by the table in logit_limits.cpp.
LogitBound logit_bound(const std::string& type, int64_t parameters, const GivenLimits& limits);

// What general.file_type of a file says: "Q4_K_M"; "" where it says nothing, or what nothing here writes.
std::string declared_type(const GgufReader&);

// The type of a file by its coarsest matrix. Which of the mixes with such blocks it is, which may be a coarser one
// (Q4_K_S) or a finer one (Q3_K_L) than the usual, general.file_type says; a check of its own asks whether that is so.
std::string limited_type(const GgufReader&);

// The coarser of two types, by that table.
std::string coarser_type(const std::string& a, const std::string& b);

// log-probabilities, top-1, and that answers end where they did.
std::vector<Check> logit_checks(const LogitProof&, const LogitBound&);

}  // namespace prentice

// How far the log-probabilities of a served file may be from those that its self-test holds. Separate from the limits
// of verification, which are of means over many tokens: a server shows a few values, computed in its own way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proof/logit_limits.h"

namespace prentice {

struct Tolerance {
  std::string product;  // "merged", "gguf/tickets-Q8_0.gguf"
  double log_prob = 0;  // nats
  std::string basis;    // what it is the sum of, for people
};

// What lies between the model that wrote the self-test and a server.
struct ServedProduct {
  std::string name;                 // as the run's folder has it
  std::optional<std::string> type;  // of config/words.h, kLimited: its weights were rounded to it; none: they were not
  std::optional<double> kld;        // mean, of the proof of that rounding, where there was one
  std::string computed_in;          // "F16", "BF16" or "Q8_0": what the server's products read (and its cache)
  std::string own;                  // "F32", or the coarser type that the self-test itself was computed in
  int64_t parameters = 0;
  const GivenLimits& limits;
};

// Of each of the five likeliest ids.
Tolerance tolerance_of(const ServedProduct&);

}  // namespace prentice

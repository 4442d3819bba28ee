#include "proof/serving_tolerance.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <vector>

namespace prentice {

namespace {

// What arithmetic alone does to the five likeliest ids: at least three times the most that was measured on
// stories260K, tuned, after ten prompts, against transformers in F32 on the weights of the very file. llama-server with
// its own settings (a cache in halves): 0.005 for F32 and F16 files, 0.023 for BF16, 0.085 for files of blocks, whose
// products read activations in int8. transformers in halves: 0.06 for BF16, 0.008 for F16.
double arithmetic_of(const std::string& type) {
  if (type == "F32") return 0;
  if (type == "F16") return 0.03;
  return type == "BF16" ? 0.2 : 0.3;
}

// Logits that are off by s nats, each by itself, have a mean KL divergence of s^2 / 2 and less. Four times s holds a
// handful of values: of the same files, 50 values were at most 2.4 s off.
double spread_of(double kld) { return 4 * std::sqrt(2 * kld); }

}  // namespace

Tolerance tolerance_of(const ServedProduct& served) {
  const auto limit_of = [&](const std::string& type) {
    return logit_bound(type, served.parameters, served.limits).kld;
  };
  Tolerance tolerance{.product = served.name, .log_prob = arithmetic_of(served.computed_in)};
  std::vector<std::string> parts = {
      fmt::format("{:.2g} for a server that computes in {}", tolerance.log_prob, served.computed_in)};
  const auto add = [&](double value, std::string why) {
    if (value == 0) return;
    tolerance.log_prob += value;
    parts.push_back(fmt::format("{:.2g} {}", value, why));
  };
  if (served.kld) {
    add(spread_of(*served.kld), fmt::format("for the rounding to {}, of a mean KL of {:.2g} that verification measured",
                                            *served.type, *served.kld));
  } else if (served.type) {
    add(spread_of(limit_of(*served.type)),
        fmt::format("for the rounding to {}, of the limit of its mean KL, as none was measured", *served.type));
  }
  if (served.own == "NF4") {
    add(spread_of(limit_of("NF4")), "for the base in four bits that the self-test was computed with");
  } else {
    add(arithmetic_of(served.own), "for the self-test, computed in " + served.own);
  }
  tolerance.basis = fmt::format("{}", fmt::join(parts, "; "));
  return tolerance;
}

}  // namespace prentice

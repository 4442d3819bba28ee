#include "proof/logit_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "export/gguf_mix.h"
#include "io/gguf_values.h"

namespace prentice {

namespace {

constexpr int64_t kBillion = 1'000'000'000, kSmall = 100'000'000;
constexpr double kLeastConfidence = 0.1;  // stories260K has 0.66 on its own texts, random weights 0.003 to 0.005

// `kld` and `top1` of models of 1 B parameters and more: 1.3 to 1.5 times what llama.cpp publishes for Llama 3 8B on
// WikiText-2 without an importance matrix (its perplexity tool's README: Q8_0 0.00135, Q6_K 0.0055, Q5_K_M 0.011,
// Q5_K_S 0.017, Q5_1 0.018, Q5_0 0.022, Q4_K_M 0.031, Q4_K_S 0.043, Q4_1 0.072, Q4_0 0.072; Q2_K 0.45); what holds four
// bits or fewer has a fifth more of the same likeliest tokens to lose. `small_kld` and `small_top1` are those of models
// below 100 M, at least three times the worst that tests/oracle/test_verify_faults.py and test_imatrix.py meet (trained
// and random weights of 0.3 to 8 M: F16 2e-6, BF16 7e-5, Q8_0 6e-4, Q6_K 0.022, Q5_K_M 0.06, NF4 0.15, Q4_K_M 0.21,
// Q4_0 0.27, Q3_K_M 0.45, Q2_K 0.5): how far random weights go with their logits no table knows, and what such a file
// may hide is for the comparison of values to find. Coarsest last.
struct Row {
  const char* type;
  double kld, top1, small_kld, small_top1;
};
constexpr Row kTable[] = {
    {"F32", 1e-5, 0.998, 1e-5, 0.98},    {"F16", 1e-3, 0.98, 1e-3, 0.95},   {"BF16", 2e-3, 0.97, 2e-3, 0.92},
    {"Q8_0", 2e-3, 0.97, 4e-3, 0.85},    {"Q6_K", 8e-3, 0.94, 0.1, 0.75},   {"Q5_K_M", 0.015, 0.92, 0.25, 0.5},
    {"Q5_K_S", 0.025, 0.91, 0.25, 0.45}, {"Q5_1", 0.027, 0.91, 0.25, 0.45}, {"Q5_0", 0.033, 0.9, 0.3, 0.45},
    {"Q4_K_M", 0.04, 0.89, 0.8, 0.3},    {"Q4_K_S", 0.06, 0.87, 0.8, 0.25}, {"Q4_1", 0.1, 0.84, 1, 0.2},
    {"Q4_0", 0.1, 0.84, 1, 0.2},         {"NF4", 0.1, 0.84, 1, 0.2},        {"Q3_K_L", 0.11, 0.83, 1.6, 0.15},
    {"Q3_K_M", 0.15, 0.8, 1.6, 0.12},    {"Q3_K_S", 0.35, 0.74, 2, 0.08},   {"Q2_K", 0.65, 0.68, 4, 0.02},
};

const Row& row_of(const std::string& type) {
  const auto* row = std::ranges::find(kTable, type, [](const Row& one) { return std::string(one.type); });
  if (row == std::end(kTable)) fail(ExitCode::internal, "no limits for the type " + type);
  return *row;
}

// The file type that matrices of a tensor type belong to; "" for types of vectors and those that nothing here reads.
std::string file_word(GgmlType type) {
  switch (type) {
    case GgmlType::Q5_K:
      return "Q5_K_M";
    case GgmlType::Q4_K:
      return "Q4_K_M";
    case GgmlType::Q3_K:
      return "Q3_K_M";
    default:
      return std::string(ggml_type_info(type).name);
  }
}

bool is_listed(const std::string& type) {
  return std::ranges::any_of(kTable, [&](const Row& row) { return type == row.type; });
}

}  // namespace

LogitBound logit_bound(const std::string& type, int64_t parameters, const GivenLimits& limits) {
  const Row& row = row_of(type);
  LogitBound bound{.type = type};
  if (parameters >= kBillion) {
    bound.kld = row.kld, bound.top1 = row.top1;
    bound.origin = "the published figure of the type and a margin";
  } else if (parameters >= kSmall) {
    bound.kld = std::sqrt(row.small_kld * row.kld), bound.top1 = (row.small_top1 + row.top1) / 2;
    bound.origin = "between those of models of 1 B and of tiny ones";
  } else {
    bound.kld = row.small_kld, bound.top1 = row.small_top1;
    bound.origin = "wider than the published figure, as tiny models round worse";
  }
  const auto own = limits.find(type);
  if (own == limits.end()) return bound;
  if (own->second.kld) bound.kld = *own->second.kld;
  if (own->second.top1) bound.top1 = *own->second.top1;
  bound.origin = "the recipe's";
  return bound;
}

std::string coarser_type(const std::string& a, const std::string& b) { return &row_of(b) > &row_of(a) ? b : a; }

std::string declared_type(const GgufReader& file) {
  constexpr std::pair<int64_t, const char*> kOnlyRead[] = {{3, "Q4_1"}, {8, "Q5_0"}, {9, "Q5_1"}};
  const auto number = gguf_integer(file, "general.file_type");
  for (const FileType type : all_file_types()) {
    if (number == static_cast<int64_t>(type)) return std::string(file_type_name(type));
  }
  for (const auto& [id, word] : kOnlyRead) {
    if (number == id) return word;
  }
  return "";
}

std::string limited_type(const GgufReader& file) {
  std::string coarsest = "F32";
  const auto take = [&](const std::string& type) {
    if (is_listed(type)) coarsest = coarser_type(coarsest, type);
  };
  for (const auto& tensor : file.tensors()) {
    if (tensor.dims.size() > 1) take(file_word(tensor.type));
  }
  // A mix of the same blocks: Q4_K_S is coarser than Q4_K_M, and Q3_K_L, which is held to more, finer than Q3_K_M.
  const std::string declared = declared_type(file);
  if (declared.substr(0, 4) == coarsest.substr(0, 4)) coarsest = declared;
  return coarsest;
}

std::vector<Check> logit_checks(const LogitProof& found, const LogitBound& bound) {
  std::vector<Check> checks;
  checks.push_back(at_most_check(
      "log-probabilities", found.kld_mean, bound.kld,
      fmt::format(
          "a mean KL of {:.3g} nats from what was trained (at most {:.3g}), over {} tokens; 99 % are below {:.2g}; "
          "perplexity {:.4f} times; largest difference {:.2g}; the limit of {} is {}",
          found.kld_mean, bound.kld, found.tokens, found.kld_p99, found.perplexity_ratio, found.largest, bound.type,
          bound.origin)));
  // Which of many ids that are alike comes first is not a matter of what a model has learnt.
  const bool indifferent = found.confidence < kLeastConfidence;
  const double limit = indifferent ? 0 : bound.top1;
  checks.push_back(at_least_check("top-1", found.top1, limit,
                                  indifferent
                                      ? fmt::format("the model itself is indifferent: its likeliest id has a "
                                                    "probability of {:.2g} on average, and no limit holds",
                                                    found.confidence)
                                      : fmt::format("{:.1f} % of tokens have the same likeliest id (at least {:.1f} %)",
                                                    100 * found.top1, 100 * limit)));
  // One that is missed may be by chance, as any token's likeliest id may be another one: all of a single end, too,
  // which tells as much as any one token.
  const double kept = found.ends > 0 ? static_cast<double>(found.ends_kept) / static_cast<double>(found.ends) : 1;
  checks.push_back({.name = "ends of answers",
                    .passed = kept >= limit || found.ends_kept + 1 >= found.ends,
                    .value = kept,
                    .limit = limit,
                    .detail = found.ends == 0 ? "the model clearly ends no answer in these tokens"
                                              : fmt::format("at {} of {} positions where the model clearly ends",
                                                            found.ends_kept, found.ends)});
  return checks;
}

}  // namespace prentice

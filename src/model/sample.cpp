#include "model/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace prentice {

namespace {

int32_t largest(const std::vector<double>& scores) {
  return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// Ids by falling score, cut to the top_k.
std::vector<int32_t> ranked(const std::vector<double>& scores, int64_t top_k) {
  std::vector<int32_t> ids(scores.size());
  std::iota(ids.begin(), ids.end(), 0);
  const size_t kept = top_k > 0 ? std::min(static_cast<size_t>(top_k), ids.size()) : ids.size();
  const auto before = [&](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept), ids.end(), before);
  ids.resize(kept);
  return ids;
}

}  // namespace

int32_t choose_token(const Tensor& any, const SampleOptions& options, double draw) {
  const int64_t known = options.vocab > 0 ? std::min(options.vocab, any.size(0)) : any.size(0);
  const Tensor host = any.narrow(0, 0, known).to(at::kCPU, at::kDouble).contiguous();
  std::vector<double> scores(host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel());
  if (std::any_of(scores.begin(), scores.end(), [](double score) { return std::isnan(score); })) {
    fail(ExitCode::numerical, "the model's scores of the next token are not numbers",
         "its weights, or what is computed from them in run.precision, are not finite");
  }
  if (options.temperature == 0) return largest(scores);
  const auto ids = ranked(scores, options.top_k);
  std::vector<double> shares;
  for (int32_t id : ids) shares.push_back(std::exp((scores[id] - scores[ids[0]]) / options.temperature));
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  size_t kept = 0;
  double mass = 0;
  while (kept < ids.size() && (kept == 0 || mass < options.top_p * total)) mass += shares[kept++];
  double left = draw * mass;
  for (size_t i = 0; i < kept; ++i) {
    left -= shares[i];
    if (left < 0) return ids[i];
  }
  return ids[kept - 1];
}

}  // namespace prentice

#include "proof/update_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace prentice {

namespace {

constexpr double kNothing = 1e-9;  // of <U, U>: what sums in another order leave

double square(double x) { return x * x; }

}  // namespace

double UpdateProof::Sums::missing() const { return std::abs(other) / update; }
double UpdateProof::Sums::deviation() const { return std::sqrt(noise) / update; }
double UpdateProof::Sums::limit() const { return std::max(kMostOfUpdateMissing, kSurely * deviation()); }

void UpdateProof::add(const std::string& tensor, std::span<const float> trained, std::span<const float> base,
                      std::span<const float> found, std::span<const float> rounded) {
  if (base.empty()) return;
  Products& sums = tensors_[tensor];
  for (size_t i = 0; i < trained.size(); ++i) {
    if (!std::isfinite(found[i])) continue;  // a check of its own
    const double t = trained[i], u = t - base[i], o = static_cast<double>(found[i]) - rounded[i];
    sums.uu += u * u, sums.ut += u * t, sums.tt += t * t, sums.ou += o * u, sums.ot += o * t;
    sums.ouou += square(o * u), sums.ouot += square(o) * u * t, sums.otot += square(o * t);
  }
}

// D = U - c T, with c = <U, T> / <T, T>. A tensor that was scaled and nothing else has no D: only rounding is left of
// it.
UpdateProof::Sums UpdateProof::sums_of(const Products& p) {
  const double c = p.tt > 0 ? p.ut / p.tt : 0, update = p.uu - c * p.ut;
  if (update <= kNothing * p.uu) return {};
  return {
      .update = update, .other = p.ou - c * p.ot, .noise = std::max(0.0, p.ouou - 2 * c * p.ouot + square(c) * p.otot)};
}

std::vector<Check> UpdateProof::checks() const {
  Sums all;
  std::vector<std::string> wrong;
  for (const auto& [tensor, products] : tensors_) {
    const Sums sums = sums_of(products);
    if (sums.update == 0) continue;
    all.update += sums.update, all.other += sums.other, all.noise += sums.noise;
    if (sums.missing() > sums.limit())
      wrong.push_back(fmt::format("{} holds {:.2f} of it", tensor, 1 + sums.other / sums.update));
  }
  if (all.update == 0) return {};
  if (all.missing() > all.limit()) {
    wrong.insert(wrong.begin(),
                 fmt::format("{:.2f} of what the adapter changes is in the file (1: the trained weights; "
                             "0: those of the base, or of another adapter)",
                             1 + all.other / all.update));
  }
  std::string detail =
      fmt::format("{:.4g} of it is in the file, give or take {:.2g}", 1 + all.other / all.update, all.deviation());
  if (all.limit() > kMostOfUpdateMissing) detail += ": too small beside the rounding to tell it from none";
  if (!wrong.empty()) detail = wrong.size() == 1 ? wrong.front() : fmt::format("{}; {}, and so on", wrong[0], wrong[1]);
  return {{.name = "adapter's update",
           .passed = wrong.empty(),
           .value = all.missing(),
           .limit = all.limit(),
           .detail = std::move(detail)}};
}

}  // namespace prentice

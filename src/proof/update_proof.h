// Whether a file holds what an adapter changes, however small that is beside the rounding of the file's types: the
// bounds of proof/tensor_proof.h, of single values and of tensors, let the file of the untrained weights pass there.
//
// D: the update, W + D - W, less the part of it along W + D itself: whoever weights columns, or decays weights, makes
// all of them a little larger or smaller, which is no update. Q: the type's rounding. F: the file. Over all values that
// the adapter changes
//   share = 1 + <F - Q(W + D), D> / <D, D>     1: the file of the trained weights; 0: that of the base, or of another
//                                              adapter, whose update points elsewhere
//   s = sqrt(sum (F - Q(W + D))^2 D^2) / <D, D>  its standard deviation where what another writer rounds otherwise has
//                                              nothing to do with D; 0 of a file with the reference quantizer's bytes
// What is subtracted is Q(W + D) and not W + D, so that coarse types, whose rounding makes all values smaller or
// larger, do not do so here.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "proof/check.h"

namespace prentice {

inline constexpr double kMostOfUpdateMissing = 0.2;  // merged by peft in BF16, one of rank 1: 0.08
inline constexpr double kSurely = 5;  // standard deviations that are no chance; where more fit in that, that many may

class UpdateProof {
 public:
  // Rows of `tensor`: as trained, as they are without the adapter, which adds to them or stands in their place (empty:
  // it changes nothing there), what the file holds of them, and what the type's own rounding makes of `trained`.
  void add(const std::string& tensor, std::span<const float> trained, std::span<const float> base,
           std::span<const float> found, std::span<const float> rounded);

  // "adapter's update", of the whole file and of each tensor; none where there is no update.
  std::vector<Check> checks() const;

 private:
  // With O = F - Q, U the whole update and T = W + D:
  struct Products {
    double uu = 0, ut = 0, tt = 0, ou = 0, ot = 0;  // <U, U> and so on
    double ouou = 0, ouot = 0, otot = 0;            // sums of O^2 U^2, O^2 U T, O^2 T^2
  };
  struct Sums {
    double update = 0, other = 0, noise = 0;  // <D, D>, <F - Q, D>, sum (F - Q)^2 D^2

    double missing() const;
    double deviation() const;
    double limit() const;
  };
  static Sums sums_of(const Products&);
  std::map<std::string, Products> tensors_;
};

}  // namespace prentice

// Whether the tensors of a file hold a model's values, whoever wrote it: what cannot be rounding is named for what it
// looks like. Separate from Comparison, which asks a file of our own for its very bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/gguf.h"
#include "proof/check.h"
#include "proof/scale_estimate.h"

namespace prentice {

// Limits. Errors are measured in what the type's own rounding makes of the same values (quant/encode.h): of every
// element in units of rounding_bounds, of a tensor as root mean squares.
inline constexpr double kMostOfElement = 1.5;  // another writer's search for steps
inline constexpr double kMostOfBlock = 1.75;   // as a root mean square, where the bytes are other ones
// Where all but a few blocks are byte for byte the reference quantizer's, its author used that one, and a block that is
// none and has more of an error than a tie rounded the other way is damaged.
inline constexpr double kFewBlocks = 0.05, kMostOfFewBlocks = 1.003;
// Nor may a few blocks of Q8_0, or of Q4_0 to Q5_1 made without a matrix, have another step (or offset), which is the
// largest value divided, wherever it is computed; the steps of K-blocks are sums, whose last bit hangs on the compiler.
// Nor may a few blocks hold values that are not the nearest of their steps, where those of all the others are: also
// with an importance matrix, which chooses the steps, quantizers of K-blocks end with the nearest codes; for those of
// other types see proof/block_codes.h. In steps, with what a weight may have been rounded by on its way: to F16, or,
// merged elsewhere, to BF16, base and sum.
inline constexpr double kHalfAway = 1.0 / 2048, kMergedAway = 1.0 / 256;
inline constexpr double kMostOfTensor = 1.5;            // measured: 1.00 to 1.03 (llama-quantize, gguf-py)
inline constexpr double kMostOfTensorImportance = 2.5;  // measured: up to 1.5, in Q2_K
inline constexpr double kMergedElsewhere = 2e-5;        // of the largest value: sums of an adapter in another order
// Whoever weights columns chooses other steps, and then the nearest of them, or nearly, for each value as everybody
// does. Measured on a model whose columns' activations differ by e^1.5: of the values of a tensor those of an
// importance matrix are further from their own than kFarFromStep steps in no K-block, and in up to 0.0084 of Q4_0; of
// plain files of a model whose weights are others by 0.06 of their size, 0.024 (Q4_K), 0.029 (Q4_0), 0.17 (Q5_K) and
// 0.43 (Q6_K). In root mean squares the first two are 1.3 and 1.2 times the rounding: of four bits and more this lets
// no file pass that kMostOfTensor would not.
inline constexpr double kFarFromStep = 0.75, kMostFarFromStep = 0.02;
inline constexpr double kMostTensorsOtherwise = 0.75;  // of those in blocks, where a matrix is suspected

// Whether a file was made with an importance matrix, and rounds some columns for others' sake.
enum class Weighted { no, yes, not_said };

class TensorProof {
 public:
  explicit TensorProof(Weighted weighted) : importance_(weighted != Weighted::no), weighted_(weighted) {}

  // Whole rows of `tensor`, in order. `stored` is what the file holds: bytes of `type`; `merged`: the values are sums
  // with an adapter's, of which `base` are the others.
  void add(const std::string& tensor, GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored,
           bool merged, std::span<const float> base = {});
  // The same for values that are stored in a form of their own; `rounded` is what it makes of `wanted`.
  void add_rounded(const std::string& tensor, std::span<const float> wanted, std::span<const float> rounded,
                   std::span<const float> found);

  // Of the rows that add() was last given: what the file holds, and what the type's own rounding makes of `wanted`.
  std::span<const float> found() const { return found_; }
  std::span<const float> rounded() const { return again_; }

  // "finite values", "values", "blocks", "scale", "rounding".
  std::vector<Check> checks();

  // After checks(). Whether nearly all tensors in blocks have mostly others than the reference quantizer's, as those of
  // an importance matrix have, and of other weights; and, of a proof with `not_said`, whether all values are stored as
  // the nearest of their steps, which those of other weights are not.
  bool rounded_otherwise() const;
  bool on_steps() const { return far_ && *far_ <= kMostFarFromStep; }

 private:
  struct Sums {
    std::string name;
    double count = 0, wanted = 0, found = 0, both = 0;      // sums of squares, and of products
    double error = 0, rounding = 0, floor = 0, errors = 0;  // squares of errors: found, explained; sum of errors
    double element = 0;                                     // largest error in units of its bound
    double block = 0;                                       // largest error of a block by that of its own rounding
    double merged_block = 0;                                // and by that and what merging elsewhere rounds
    int64_t blocks = 0, other_blocks = 0,
            first_other = 0;  // all, those with other bytes than the reference quantizer's
    int64_t other_steps = 0;  // of those, in types whose steps are the largest values' alone, with another step
    int64_t not_finite = 0;
    int64_t misplaced_blocks = 0, first_misplaced = 0;  // with values that another code stands for better
    ScaleEstimate scale, own_scale;                     // of the file, and of the reference quantizer
    double most_excess = 0;                             // of the one above the other; 0: nothing is asked
    int64_t between = 0, far = 0;  // values within the range of their steps, and those further from their own than that
  };

  void begin(const std::string& tensor);
  void count(float wanted, float found, double rounding, double bound, double slack);
  void compare_blocks(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored, bool merged);
  void compare_steps(GgmlType type, std::span<const float> wanted);
  void compare_codes(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored, bool merged);
  void estimate_scale(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored);
  void merge_halves(GgmlType type, std::span<const float> wanted, std::span<const float> base);
  void round_to_halves(std::span<const float> values);
  bool is_of_halves(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored);
  std::optional<std::string> damage(const Sums&) const;
  void finish();
  std::string looks_like(const Sums&) const;

  bool importance_;
  Weighted weighted_;
  Sums now_;
  std::vector<float> found_, bounds_, again_, halves_;
  CodeRanges ranges_;
  std::vector<double> away_;
  std::vector<std::byte> bytes_, other_bytes_;
  int64_t tensors_ = 0, in_blocks_ = 0, other_blocks_ = 0;
  bool blocks_ = false, others_ = false;
  std::vector<std::string> not_finite_, wrong_elements_, wrong_blocks_, wrong_scales_, wrong_tensors_;
  int64_t otherwise_ = 0;      // tensors most of whose blocks are others than the reference quantizer's
  std::optional<double> far_;  // the largest share of a tensor; none of types that no importance changes
  double worst_element_ = 0, worst_block_ = 0, worst_scale_ = 0, worst_tensor_ = 0;
  std::string element_name_, scale_name_, tensor_name_;
};

}  // namespace prentice

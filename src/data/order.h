// Which examples an epoch holds, and in what order: a pure function of (seed, epoch, position), never a state.
// Separate from packing because the order must not depend on how a step is cut into micro-batches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace prentice {

// One file of a weighted mix: the indices of its examples and its share of an epoch's examples.
struct MixPart {
  std::vector<int64_t> members;
  double weight = 1;
};

struct Draw {
  int64_t sequence = 0;    // the first of its example
  int64_t occurrence = 0;  // how often this sequence was drawn before, in the whole run
};

// Without a mix an epoch is one permutation of all sequences. With one, an epoch has as many examples as all files hold
// together, and file i gives its share weight_i / sum(weights) of them (largest remainder). File i deals its rows from
// shuffled decks, one after the other, and goes on in the next epoch where it stopped: after any number of epochs two
// rows of one file have been seen equally often, give or take one. Without shuffling the decks are in file order and
// the files' draws are interleaved by their shares.
class Order {
 public:
  Order(int64_t sequences, uint64_t seed, bool shuffle);
  Order(std::vector<MixPart> mix, uint64_t seed, bool shuffle);

  int64_t size() const { return size_; }  // examples an epoch
  std::vector<Draw> epoch(int64_t index) const;
  const std::vector<int64_t>& shares() const { return shares_; }  // examples an epoch by part

 private:
  void append_part(size_t part, int64_t epoch, std::vector<Draw>& draws) const;

  std::vector<MixPart> mix_;
  std::vector<int64_t> shares_;
  int64_t size_ = 0;
  uint64_t seed_ = 0;
  bool shuffle_ = true;
};

// `total` split by weights into whole numbers that add up (largest remainder; ties go to the earlier).
std::vector<int64_t> apportion(int64_t total, const std::vector<double>& weights);

// A seeded permutation of 0..count-1 (Fisher-Yates on Philox draws); `stream` tells permutations of one seed apart.
std::vector<int64_t> permutation(int64_t count, uint64_t seed, uint64_t stream);

}  // namespace prentice

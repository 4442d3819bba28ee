#include "data/data_set.h"

#include <algorithm>

namespace prentice {

void keep_examples(DataSet& set, size_t sequences) {
  size_t kept = 0;
  for (size_t i = 0; i < std::min(sequences, set.encoded.sequences.size()); ++i) {
    kept = std::max(kept, static_cast<size_t>(set.encoded.sequences[i].sample) + 1);
  }
  set.examples.resize(std::min(kept, set.examples.size()));
  set.examples.shrink_to_fit();
}

}  // namespace prentice

#include "nn/offloaded.h"

namespace prentice {

size_t OffloadedInputs::keep(const Tensor& x) {
  kept_.push_back(copies_.to_host(x));
  return kept_.size() - 1;
}

Tensor OffloadedInputs::take(size_t index) {
  const bool is_coming = coming_ && coming_->first == index;
  Tensor x = copies_.arrived(is_coming ? coming_->second : copies_.fetch(kept_[index]));
  coming_.reset();
  kept_[index] = Tensor();
  if (index > 0 && kept_[index - 1].defined()) coming_ = {index - 1, copies_.fetch(kept_[index - 1])};
  return x;
}

}  // namespace prentice

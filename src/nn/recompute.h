// Trading time for memory: a part of the network that keeps only its input and runs again in the backward pass (Chen et
// al. 2016).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/tensor.h"

namespace prentice {

class OffloadedInputs;

// What the backward pass computes again instead of keeping it.
enum class Recomputed { nothing, mlp, block };

// block(x), whose gradients to `x` and to the `parameters` it uses equal those of the plain call bit for bit. Anything
// else that `block` captures gets no gradient; it must compute the same again when called again. With `inputs`, `x` is
// kept there until the backward pass, which then runs once.
Tensor recompute(const std::function<Tensor(const Tensor&)>& block, const Tensor& x,
                 const std::vector<Tensor>& parameters, const std::shared_ptr<OffloadedInputs>& inputs = nullptr);

}  // namespace prentice

#include "plan/step_shape.h"

#include "adapter/trainable.h"
#include "core/error.h"

namespace prentice {

Recomputed recomputed(Recompute asked) {
  switch (asked) {
    case Recompute::none:
      return Recomputed::nothing;
    case Recompute::selective:
      return Recomputed::mlp;
    case Recompute::block:
      return Recomputed::block;
  }
  fail(ExitCode::internal, "this recomputation has no name");
}

Recompute recompute_word(Recomputed done) {
  return done == Recomputed::nothing ? Recompute::none
         : done == Recomputed::mlp   ? Recompute::selective
                                     : Recompute::block;
}

HostEnds StepShape::host_ends() const {
  return offload && adapter ? frozen_ends(spec, quantize, *adapter) : HostEnds{};
}

StepShape step_shape(const ModelSpec& spec, const Machine& machine, const Hardware& hardware, Quantize quantize) {
  return {.spec = spec,
          .dtype = machine.dtype,
          .quantize = quantize,
          .is_gpu = hardware.is_gpu,
          .parameters = parameter_count(spec)};
}

}  // namespace prentice

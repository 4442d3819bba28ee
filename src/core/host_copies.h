// Tensors that wait in pinned host memory while the device needs its own for others. They travel on a stream beside the
// one that computes. Separate from who decides what travels: the optimizer, and recomputation.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <optional>

#include "core/tensor.h"

namespace prentice {

// Room on the host for what `device` will fetch: pinned for a GPU, without storage for meta.
Tensor empty_on_host(at::IntArrayRef sizes, c10::ScalarType, c10::Device device);
// `tensor` where `device` is: itself if it is there, else a copy that the computing stream makes; nobody waits for it.
Tensor on_device(const Tensor& tensor, c10::Device device);

// On the CPU a copy is made at once, so that the same code runs there; of tensors without storage the host's take none.
class HostCopies {
 public:
  explicit HostCopies(c10::Device device);

  // A copy of `tensor`, which may be freed at once. Only fetch() may read the copy before finish().
  Tensor to_host(const Tensor& tensor);
  // `host` gets what `tensor` holds by now; the same rules.
  void store(const Tensor& tensor, const Tensor& host);

  // A tensor on its way to the device; arrived() makes the computing stream wait for it.
  struct Coming {
    Tensor tensor;
    std::optional<c10::Event> ready;
  };
  Coming fetch(const Tensor& host);
  Tensor arrived(Coming coming);

  // Waits until no copy is on its way.
  void finish() const;

 private:
  c10::Stream computing() const;
  c10::Event mark(const c10::Stream& stream) const;

  c10::Device device_;
  std::optional<c10::Stream> beside_;  // none where copies are made at once
};

}  // namespace prentice

// Tensors that wait in pinned host memory while the device needs its own for others. They travel on a stream beside the
// one that computes. Separate from who decides what travels: the optimizer, and recomputation.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <optional>
#include <vector>

#include "core/tensor.h"

namespace prentice {

// Room on the host for what `device` will fetch: pinned for a GPU, without storage for meta.
Tensor empty_on_host(at::IntArrayRef sizes, c10::ScalarType, c10::Device device);
// `tensor` where `device` is: itself if it is there, else a copy that the computing stream makes; nobody waits for it.
Tensor on_device(const Tensor& tensor, c10::Device device);

// On the CPU a copy is made at once, so that the same code runs there; of tensors without storage the host's take none.
// Memory of a device goes back in the order of the computing stream: what is copied to the host is held until that
// stream has been told to wait for the copy, which the next call does, and what is fetched until it has arrived().
class HostCopies {
 public:
  explicit HostCopies(c10::Device device);
  ~HostCopies();
  HostCopies(HostCopies&&) = default;

  // A copy of `tensor`, which may be freed at once. Only fetch() may read the copy before finish().
  Tensor to_host(const Tensor& tensor);
  // `host` gets what `tensor` holds by now; the same rules.
  void store(const Tensor& tensor, const Tensor& host);

  // A tensor on its way to the device, of which nothing but the shape may be read until it has arrived().
  Tensor fetch(const Tensor& host);
  Tensor arrived(const Tensor& coming);

  // What was stored last is held no longer.
  void let_go();
  // Waits until no copy is on its way.
  void finish() const;

 private:
  struct Copy {
    Tensor tensor;  // on the device
    c10::Event made;
  };

  c10::Stream computing() const;
  c10::Event mark(const c10::Stream& stream) const;

  c10::Device device_;
  std::optional<c10::Stream> beside_;  // none where copies are made at once
  std::vector<Copy> leaving_, coming_;
};

}  // namespace prentice

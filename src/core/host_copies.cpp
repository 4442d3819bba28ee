#include "core/host_copies.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

namespace prentice {

Tensor empty_on_host(at::IntArrayRef sizes, c10::ScalarType type, c10::Device device) {
  const at::TensorOptions options(type);
  if (device.is_meta()) return at::empty({1}, options).expand(sizes);
  return at::empty(sizes, options.pinned_memory(!device.is_cpu()));
}

Tensor on_device(const Tensor& tensor, c10::Device device) {
  return tensor.to(device, tensor.scalar_type(), /*non_blocking=*/true);
}

HostCopies::HostCopies(c10::Device device) : device_(device) {
  if (device.is_cpu() || device.is_meta()) return;
  const c10::impl::VirtualGuardImpl on(device.type());
  if (!device_.has_index()) device_ = on.getDevice();
  beside_ = on.getStreamFromGlobalPool(device_);
}

c10::Stream HostCopies::computing() const { return c10::impl::VirtualGuardImpl(device_.type()).getStream(device_); }

c10::Event HostCopies::mark(const c10::Stream& stream) const {
  c10::Event event(device_.type());
  event.record(stream);
  return event;
}

Tensor HostCopies::to_host(const Tensor& tensor) {
  Tensor host = empty_on_host(tensor.sizes(), tensor.scalar_type(), device_);
  store(tensor, host);
  return host;
}

void HostCopies::store(const Tensor& tensor, const Tensor& host) {
  const c10::NoGradGuard no_grad;
  const Tensor from = tensor.detach();
  if (from.is_meta()) return;
  if (!beside_) {
    host.copy_(from);
    return;
  }
  beside_->wait(mark(computing()));
  const c10::StreamGuard guard(*beside_);
  host.copy_(from, /*non_blocking=*/true);
  from.record_stream(*beside_);  // its memory is not given to others before it is read
}

HostCopies::Coming HostCopies::fetch(const Tensor& host) {
  const c10::NoGradGuard no_grad;
  // Of the computing stream's memory, which may still be in use by what that stream has before it.
  Coming coming{.tensor = at::empty(host.sizes(), host.options().device(device_).pinned_memory(false))};
  if (device_.is_meta()) return coming;
  if (!beside_) {
    coming.tensor.copy_(host);
    return coming;
  }
  beside_->wait(mark(computing()));
  const c10::StreamGuard guard(*beside_);
  coming.tensor.copy_(host, /*non_blocking=*/true);
  coming.tensor.record_stream(*beside_);  // should nobody wait for it
  coming.ready = mark(*beside_);
  return coming;
}

Tensor HostCopies::arrived(Coming coming) {
  if (coming.ready) computing().wait(*coming.ready);
  return std::move(coming.tensor);
}

void HostCopies::finish() const {
  if (beside_) beside_->synchronize();
}

}  // namespace prentice

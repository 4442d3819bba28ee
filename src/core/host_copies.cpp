#include "core/host_copies.h"

#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <exception>
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
  let_go();
  beside_->wait(mark(computing()));
  const c10::StreamGuard guard(*beside_);
  host.copy_(from, /*non_blocking=*/true);
  leaving_.push_back({from, mark(*beside_)});
}

Tensor HostCopies::fetch(const Tensor& host) {
  const c10::NoGradGuard no_grad;
  let_go();
  // Of the computing stream's memory, which may still be in use by what that stream has before it.
  Tensor coming = at::empty(host.sizes(), host.options().device(device_).pinned_memory(false));
  if (device_.is_meta()) return coming;
  if (!beside_) {
    coming.copy_(host);
    return coming;
  }
  beside_->wait(mark(computing()));
  const c10::StreamGuard guard(*beside_);
  coming.copy_(host, /*non_blocking=*/true);
  coming_.push_back({coming, mark(*beside_)});
  return coming;
}

Tensor HostCopies::arrived(const Tensor& coming) {
  const auto found = std::ranges::find_if(coming_, [&](const Copy& copy) { return copy.tensor.is_same(coming); });
  if (found == coming_.end()) return coming;
  computing().wait(found->made);
  coming_.erase(found);
  return coming;
}

// The allocator's own way, record_stream, gives memory back when the device has come to it: what the program hands out
// ahead of the device would be new memory.
void HostCopies::let_go() {
  for (const Copy& copy : leaving_) computing().wait(copy.made);
  leaving_.clear();
}

HostCopies::~HostCopies() {
  try {
    let_go();
    for (const Copy& copy : coming_) computing().wait(copy.made);  // nobody waited for these
  } catch (const std::exception&) {  // the device has failed, which whoever used it has been told
  }
}

void HostCopies::finish() const {
  if (beside_) beside_->synchronize();
}

}  // namespace prentice

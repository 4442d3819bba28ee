// How a fused operation meets LibTorch's dispatcher. Each has one schema that programs call (prentice::x), with a
// gradient of its own, and the schemas its two passes run through (prentice::x_forward, prentice::x_backward), which
// have a CPU and a Meta form each. Their CUDA forms, where there are any, are registered by the plug-in (x_cuda.cpp).
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "core/tensor.h"

namespace prentice {

// The operation `name` ("prentice::x") with the C++ signature of its schema. Look it up once: `static const auto`.
template <class Signature>
c10::TypedOperatorHandle<Signature> operation(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// The forms of the schema that programs call: `form`, which brings its own gradient, on the CPU and on `meta`.
template <class Signature>
void implement(torch::Library& library, const char* name, Signature* form) {
  using Key = c10::DispatchKey;
  for (const Key key : {Key::AutogradCPU, Key::AutogradMeta, Key::CPU, Key::Meta}) {
    library.impl(name, torch::dispatch(key, form));
  }
}

// The same, and on CUDA devices: of an operation whose passes the plug-in has forms of.
template <class Signature>
void implement_on_devices(torch::Library& library, const char* name, Signature* form) {
  implement(library, name, form);
  for (const auto key : {c10::DispatchKey::AutogradCUDA, c10::DispatchKey::CUDA}) {
    library.impl(name, torch::dispatch(key, form));
  }
}

// The two forms of the schema of one pass.
template <class Signature>
void implement_pass(torch::Library& library, const char* name, Signature* cpu, Signature* meta) {
  library.impl(name, torch::dispatch(c10::DispatchKey::CPU, cpu));
  library.impl(name, torch::dispatch(c10::DispatchKey::Meta, meta));
}

}  // namespace prentice

// Forms for `meta` tensors of those ATen operations whose shape rules LibTorch keeps in Python, so that a whole forward
// and backward pass runs without memory. Separate because they are of ATen and not of this program.
#pragma once

namespace prentice {

// Registers them, once; calls after the first do nothing. Whoever makes `meta` tensors calls it before the first pass.
void register_meta_forms();

}  // namespace prentice

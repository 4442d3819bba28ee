// The two sides of `recipe: verify` before a weight loads: whether the one can be verified against the other at all.
#pragma once

#include "config/schema.h"
#include "recipes/open.h"

namespace prentice {

struct VerifySides {
  ModelShape model;
  Artifact artifact;
};

// Errors: `usage`, told of verify.model or verify.artifact; `model`; those of open_shape.
VerifySides open_verify_sides(const VerifySection&);

}  // namespace prentice

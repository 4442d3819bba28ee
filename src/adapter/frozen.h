// A model as it is now, kept beside the one that trains on: what adapters change is copied, the base is shared.
#pragma once

#include "model/model.h"

namespace prentice {

// Adapters and modules saved whole are copies that need no gradient; every other tensor is the model's own.
Model frozen_copy(const Model&);

}  // namespace prentice

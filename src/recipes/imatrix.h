// A run of a model over calibration data, known before its weights load.
#pragma once

#include "artifact/open.h"
#include "config/kinds.h"
#include "plan/plan.h"
#include "products/calibration.h"

namespace prentice {

// Decides data.max_length. Errors: those of load_calibration.
Calibration prepare_calibration(ImatrixRecipe&, const Opened&);

Plan plan_imatrix(const ImatrixRecipe&, const Calibration&, const Opened&, const Hardware&);

}  // namespace prentice

// What the kind verify contradicts in itself, and limits of verification wherever they stand.
#pragma once

#include "config/checker.h"

namespace prentice {

void check_verify(Checker&, const VerifyRecipe&);

// `key`: export.limits or verify.limits.
void check_limits(Checker&, std::string_view key, const std::map<std::string, LogitLimits>& limits);

}  // namespace prentice

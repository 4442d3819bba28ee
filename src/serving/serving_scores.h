// serve.md of a reward model, which no server of words can load.
#pragma once

#include <string>

#include "serving/serving.h"

namespace prentice {

std::string scores_markdown(const ServingInfo&);

}  // namespace prentice

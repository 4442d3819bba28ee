#include "quant/round_lanes.h"

namespace prentice {

const SearchPath kPortablePath = path_of<1>("portable");

}  // namespace prentice

// The rotary embedding a config.json asks for, in the spellings of transformers 4 (rope_scaling, rope_theta) and 5
// (rope_parameters).
#pragma once

#include "model/config_reader.h"
#include "model/spec.h"

namespace prentice {

// One rotation for all layers, or that of full layers and that of windowed ones, as the family has it. Notes mistakes
// in `reader`: an unknown rope_type, a missing or bad number, a form that is not supported.
std::vector<RopeSpec> read_ropes(ConfigReader& reader, const FamilyRope& family, int64_t head_dim,
                                 int64_t max_positions);

}  // namespace prentice

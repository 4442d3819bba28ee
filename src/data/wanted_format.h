// Which data format a record has for what an objective reads of it, and how to name its members when it has none: apart
// from formats.h, because the keys that help are those of the kind.
#pragma once

#include "data/formats.h"

namespace prentice {

// As known_format; where labels are wanted, a member of that name decides, whatever its value. Errors: `malformed` when
// no format fits, with the record's members and how to name them for that use.
DataFormat wanted_format(const Json& record, RowUse use);

}  // namespace prentice

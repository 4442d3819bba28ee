// What training against a GGUF file's rounding (adapter.qat) asks of the sections beside the adapter's.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/checker.h"

namespace prentice {

// Gives what is only worth a line.
std::vector<std::string> check_qat(Checker&, std::string_view kind, const ModelSection&, const AdapterSection&,
                                   const ExportSection&);

}  // namespace prentice

// The machine a plan is for: this one, or one described under configs/hardware.
#pragma once

#include <cstdint>
#include <string>

#include "artifact/machine.h"
#include "config/schema.h"

namespace prentice {

// Facts only: nothing here depends on what happens to be free.
struct Hardware {
  std::string name;
  bool is_gpu = false;
  int64_t memory_bytes = 0;   // total, of the device that trains
  double peak_flops = 0;      // bf16 of the data sheet; 0 = unknown
  double usable_flops = 0;    // what a training step reaches of it: the basis of the time estimate
  double price_per_hour = 0;  // 0 = unknown
  std::string currency;
};

// What a CPU reaches of plain products, flops a second.
double host_flops(int64_t threads);
// Seconds that weights take from a local disk into memory and into their type there. `bytes`: there.
double loading_seconds(int64_t bytes);

// Where a recipe runs, or would run: what is decided there, and what the machine has.
struct Place {
  Machine machine;
  Hardware hardware;
};
// `hardware` is "" for this machine, which is asked without creating a context, or a name under configs/hardware, whose
// device and types then hold: nothing may be computed there. Fills what is `auto` in the section. Errors: `usage` for
// an unknown name, for a device that is not there, and for run.device: cpu on a GPU machine.
Place decide_place(RunSection&, const std::string& hardware);

}  // namespace prentice

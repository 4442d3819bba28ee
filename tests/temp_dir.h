// A folder for one test, in memory where possible, because checkpoints wait for the disk.
#pragma once

#include <unistd.h>

#include "io/scratch.h"

namespace prentice::toy {

class TempDir : public Scratch {
 public:
  TempDir() : Scratch(::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path()) {}
};

}  // namespace prentice::toy

// What a writer of many tensors goes on from where the process before it was killed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

namespace prentice {

struct ResumeOptions {
  std::filesystem::path log;  // file of a file, folder of a folder (io/resumable_stream.h); empty: nothing is kept
  std::string key = {};       // hash of the values and options that decide the bytes, but for what the head says
  // Told once, before the first tensor is made: so many of all are there already.
  std::function<void(size_t kept, size_t tensors)> tell = [](size_t, size_t) {};
};

}  // namespace prentice

// llama.cpp's shared library as a witness. It is opened where a recipe names one and never linked; this is the only
// file that knows its functions.
#pragma once

#include <filesystem>

#include "proof/witness.h"

namespace prentice {

// The library lies beside its siblings, backends that are libraries of their own among them. `threads`: of the CPU.
// Errors: `usage`, told of `key`, for a file that is no such library or lacks a function, which is named.
CallWitness llama_cpp_library(const std::filesystem::path& library, int threads, std::string_view key);

}  // namespace prentice

// The files two runs left, compared: what is of the result and what only of the run, its name or its time. Apart from
// repro.h because each kind of file has its own notion of "the same".
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace prentice {

// One line a difference ("adapter/adapter_model.safetensors: TENSOR: 3 of 80 values differ, by at most 1e-7"), in the
// order of names; empty when both hold the same results. Logs and times are left out; of checkpoints only those that
// both have are compared. What bears the served name (export.name, else the folder's) is compared without it: GGUF
// files by their tensors and all metadata but general.name and the program that wrote them, verify.json, eval.json and
// selftest.json by their contents, compare.json but for its speed; pages (of serve/, compare.md) follow from the rest.
// Errors: `model` for a file that cannot be read as what it is.
std::vector<std::string> file_differences(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace prentice

// ggml's own encoders and decoders, of the prebuilt library that tests/oracle installs.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/gguf.h"

namespace prentice {

class Ggml {
 public:
  // `found()` is false where the library is not installed.
  Ggml() {
    const char* modules = std::getenv("PRENTICE_NODE_MODULES");
    const std::filesystem::path folder = modules != nullptr ? modules : "node_modules";
    path_ = folder / "@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so";
    library_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ != nullptr) encode_ = reinterpret_cast<Encode>(dlsym(library_, "ggml_quantize_chunk"));
  }
  bool found() const { return encode_ != nullptr; }
  const std::filesystem::path& path() const { return path_; }

  std::vector<std::byte> encode(GgmlType type, std::span<const float> values, int64_t columns,
                                std::span<const float> importance) const {
    const auto& info = ggml_type_info(type);
    std::vector<std::byte> out(values.size() / info.block_elements * info.block_bytes);
    encode_(static_cast<int>(type), values.data(), out.data(), 0, static_cast<int64_t>(values.size()) / columns,
            columns, importance.empty() ? nullptr : importance.data());
    return out;
  }
  std::vector<float> decode(GgmlType type, std::span<const std::byte> bytes) const {
    const auto& info = ggml_type_info(type);
    std::string name(info.name);
    name[0] = 'q';
    const auto call = reinterpret_cast<Decode>(dlsym(library_, ("dequantize_row_" + name).c_str()));
    std::vector<float> out(bytes.size() / info.block_bytes * info.block_elements);
    call(bytes.data(), out.data(), static_cast<int64_t>(out.size()));
    return out;
  }

 private:
  using Encode = size_t (*)(int, const float*, void*, int64_t, int64_t, int64_t, const float*);
  using Decode = void (*)(const void*, float*, int64_t);
  std::filesystem::path path_;
  void* library_ = nullptr;
  Encode encode_ = nullptr;
};

}  // namespace prentice

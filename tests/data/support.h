// What the tests of this room share: files with given text, real data and tokenizers where they are present.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/batch.h"
#include "data/encode.h"
#include "io/scratch.h"

namespace prentice {

inline std::string write_text(const Scratch& scratch, const std::string& name, const std::string& text) {
  const auto path = scratch / name;
  std::ofstream(path, std::ios::binary) << text;
  return path.string();
}

inline std::filesystem::path shared_data() {
  const char* set = std::getenv("PRENTICE_TEST_DATA");
  return set != nullptr ? set : "../shared/data";
}

// The quickstart's tokenizer, part of this project: byte-level BPE, no BOS, EOS "<|end|>" (id 0), a chat template of
// the form <|user|>...<|assistant|>...<|end|>.
inline const Tokenizer& office_tokenizer() {
  static const auto tokenizer = Tokenizer::load("data/quickstart/tokenizer");
  return tokenizer;
}

inline DataSection section_for(const std::string& path) {
  DataSection section;
  section.train = {{path, 1}};
  section.eval_split = 0;
  return section;
}

inline DataSet load(const DataSection& section, const Tokenizer& tokenizer, EncodeOptions options = {.threads = 2}) {
  return load_data_set(section.train, section, tokenizer, options);
}

// The text of the trained tokens, in one string.
inline std::string trained_text(const Sequence& sequence, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (const auto label : sequence.labels) {
    if (label != kNoLabel) ids.push_back(label);
  }
  return tokenizer.decode(ids, false);
}

inline std::string all_text(const Sequence& sequence, const Tokenizer& tokenizer) {
  return tokenizer.decode(sequence.ids, false);
}

}  // namespace prentice

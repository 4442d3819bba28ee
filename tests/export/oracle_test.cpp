// Driven by tests/oracle/test_gguf_llama_cpp.py: writes what other programs then read. request.json is a list of
// {"base", "adapter" (or null), "out", "gguf": [types], "merged": type (or null)}.
#include <fmt/format.h>

#include <cstdlib>

#include "export/gguf_model.h"
#include "export/hf_folder.h"
#include "export/tiny.h"
#include "proof/verify.h"
#include "quant/encode.h"

namespace prentice {
namespace {

void write_request(const Json& request) {
  namespace fs = std::filesystem;
  const fs::path base = request.at("base").as_string(), out = request.at("out").as_string();
  const fs::path adapter = request.at("adapter").is_null() ? "" : request.at("adapter").as_string();
  const auto whole = read_spec(base), spec = decoder_alone(whole);
  const auto tokenizer = Tokenizer::load(base);
  const auto source = WeightSource::from_folder(whole, base, adapter);
  fs::create_directories(out);
  for (const auto& word : request.at("gguf").as_array()) {
    const GgufOptions options{.type = file_type_named(word.as_string()), .name = "oracle"};
    write_gguf(source, spec, tokenizer, out / (word.as_string() + ".gguf"), options);
    const auto result = verify_gguf(out / (word.as_string() + ".gguf"), source, spec, tokenizer, options);
    EXPECT_TRUE(result.passed()) << verification_json(result);
  }
  if (request.at("merged").is_null()) return;
  const HfFolderOptions options{.type = element_type(request.at("merged").as_string())};
  fs::create_directories(out / "merged");
  write_hf_folder(source, spec, base, out / "merged", options);
  const auto result = verify_hf_folder(out / "merged", source, spec, base, options);
  EXPECT_TRUE(result.passed()) << verification_json(result);
}

TEST(Oracle, WritesExports) {
  const char* folder = std::getenv("PRENTICE_ORACLE_DIR");
  if (folder == nullptr) GTEST_SKIP() << "driven by tests/oracle/test_gguf_llama_cpp.py";
  const auto requests = Json::parse_file(std::filesystem::path(folder) / "request.json");
  for (const auto& request : requests.as_array()) {
    SCOPED_TRACE(request.dump());
    write_request(request);
  }
}

}  // namespace
}  // namespace prentice

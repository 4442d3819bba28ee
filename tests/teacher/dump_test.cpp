// For tests/oracle: writes a store of rows that a reference computed, and what our reader makes of it.
#include <ATen/ops/from_blob.h>

#include <fstream>

#include "io/json.h"
#include "io/safetensors.h"
#include "teacher/tiny_store.h"

namespace prentice {
namespace {

Tensor tensor_of(const SafetensorsFile& file, const char* name, at::ScalarType type) {
  const TensorView& view = *file.find(name);
  return at::from_blob(const_cast<std::byte*>(view.bytes.data()), view.shape, type);
}

void dump(const Tensor& tensor, const std::filesystem::path& path) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(tensor.const_data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
}

// Environment: PRENTICE_ORACLE_DIR holds rows.safetensors (`ids` i64 [N, K], `log_probs` f32 [N, K], `tail` f64 [N])
// and settings.json (`vocabulary`, `values`, `sample_rows`); sample s has
// content 1000 + s. Writes the folder store/ and, as plain arrays, what is
// read back: ids (i64) and log_probs (f32) [N, K'], counts (i64) and tail (f32) [N].
TEST(Oracle, WritesAStore) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  const std::filesystem::path folder = directory;
  const SafetensorsFile file = SafetensorsFile::open(folder / "rows.safetensors");
  const TargetRows rows{tensor_of(file, "ids", at::kLong),
                        {},
                        tensor_of(file, "log_probs", at::kFloat),
                        tensor_of(file, "tail", at::kDouble)};
  const Json settings = Json::parse_file(folder / "settings.json");
  StoreKey key{"teacher", "tokenizer", "template", "data", "rows"};
  key.vocabulary = static_cast<uint64_t>(settings.at("vocabulary").as_integer());
  key.top_k = static_cast<uint64_t>(rows.ids.size(1));
  key.values = values_of(settings.at("values").as_string());
  std::vector<StoreSample> samples;
  for (const Json& count : settings.at("sample_rows").as_array())
    samples.push_back({1000 + samples.size(), static_cast<uint32_t>(count.as_integer())});
  TeacherStoreWriter writer(folder / "store", key, samples);
  writer.append(rows);
  writer.finish();
  const TeacherStore store = TeacherStore::open(folder / "store", all_of(key));
  const std::vector<RowRange> all = {{0, writer.rows()}};
  const TargetRows back = store.read(all);
  dump(back.ids, folder / "ids");
  dump(back.counts, folder / "counts");
  dump(back.log_probs, folder / "log_probs");
  dump(back.tail, folder / "tail");
}

}  // namespace
}  // namespace prentice

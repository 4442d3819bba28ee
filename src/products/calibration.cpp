#include "products/calibration.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "core/error.h"
#include "data/split.h"
#include "data/steps.h"
#include "eval/score.h"
#include "export/importance_collector.h"
#include "io/file.h"
#include "io/publish.h"
#include "io/sha256.h"

namespace prentice {

namespace {

// Errors: `data` for less than a chunk.
void cut_into_chunks(Calibration& calibration, const std::vector<Sequence>& rows, const Tokenizer& tokenizer,
                     int64_t chunk) {
  const auto bos = tokenizer.bos_id();
  const auto begun = tokenizer.encode("a", true);
  const bool begins = bos && !begun.empty() && begun.front() == *bos;
  std::vector<int32_t> text;
  for (const auto& row : rows) text.insert(text.end(), row.ids.begin(), row.ids.end());
  const auto size = static_cast<int64_t>(text.size());
  if (size < chunk) {
    fail(ExitCode::data, fmt::format("the calibration text has {} tokens, less than a chunk of {}", size, chunk),
         "give more text: some 100 chunks are usual; or set data.max_length");
  }
  for (int64_t first = 0; first + chunk <= size; first += chunk) {
    Sequence piece{.ids = {text.begin() + first, text.begin() + first + chunk}};
    if (begins) piece.ids.front() = *bos;
    piece.labels.assign(piece.ids.size(), static_cast<int32_t>(kNoLabel));
    calibration.sequences.push_back(std::move(piece));
  }
  calibration.left_out = size % chunk;
  calibration.chunk_size = static_cast<uint32_t>(chunk);
}

std::filesystem::path hash_of_kept(const std::filesystem::path& kept) { return kept.string() + ".sha256"; }

}  // namespace

Calibration load_calibration(const DataSection& section, const Tokenizer& tokenizer, const ModelSpec& spec,
                             int threads) {
  DataSection whole = section;
  whole.max_length.reset();
  whole.eval_split = 0;
  whole.train_on = TrainOn::all;
  EncodeOptions options{.max_length = 0, .threads = threads, .for_evaluation = true};
  TrainEvalSets sets = load_data(whole, tokenizer, options, 0);
  const bool is_text = sets.train.format == DataFormat::text && !sets.train.chat;
  const int64_t limit = section.max_length.value_or(spec.max_positions);
  if (!is_text && sets.train.encoded.longest > limit) {  // what is too long is told, dropped or cut as elsewhere
    whole.max_length = section.max_length;
    options.max_length = spec.max_positions;
    sets = load_data(whole, tokenizer, options, 0);
  }
  Calibration calibration{.rows = std::move(sets.train), .overlap = std::move(sets.overlap)};
  auto rows = std::exchange(calibration.rows.encoded.sequences, {});
  std::set<std::string> files;
  for (const auto& origin : calibration.rows.encoded.origins) {
    std::string name = std::filesystem::path(origin.file).filename().string();
    if (files.insert(name).second) calibration.datasets.push_back(std::move(name));
  }
  if (is_text) {
    const int64_t chunk = section.max_length.value_or(std::min(kCalibrationChunk, spec.max_positions));
    cut_into_chunks(calibration, rows, tokenizer, chunk);
  } else {
    calibration.sequences = std::move(rows);
    calibration.chunk_size = kCalibrationChunk;
  }
  for (const auto& sequence : calibration.sequences) calibration.tokens += sequence.size();
  const int64_t size = calibration.chunk_size;
  calibration.chunks = static_cast<uint32_t>((calibration.tokens + size - 1) / size);
  return calibration;
}

ImportanceMatrix collect_importance(const Model& model, const Calibration& calibration,
                                    const std::function<void(int64_t, int64_t)>& progress) {
  ImportanceCollector collector(model);
  std::vector<const Sequence*> sequences;
  for (const auto& sequence : calibration.sequences) sequences.push_back(&sequence);
  const auto total = static_cast<int64_t>(sequences.size());
  int64_t done = 0;
  progress(done, total);
  collate_in_order(sequences, kEvalMicroTokens, [&](const Batch& batch) {
    collector.add(to_device(batch, device_of(model)));
    done += static_cast<int64_t>(batch.host_starts.size()) - 1;
    progress(done, total);
  });
  ImportanceMatrix matrix{.entries = collector.entries(),
                          .datasets = calibration.datasets,
                          .chunks = calibration.chunks,
                          .chunk_size = calibration.chunk_size};
  for (const auto& example : calibration.rows.examples) matrix.rows.push_back(calibration_row_hash(example.text));
  return matrix;
}

std::string calibration_warning(const Calibration& calibration) {
  constexpr size_t kShown = 3;
  const auto& overlap = calibration.overlap;
  if (overlap.empty()) return "";
  const std::vector<std::string> shown(overlap.begin(), overlap.begin() + std::min(kShown, overlap.size()));
  return fmt::format("{} evaluation {} calibrated on, too: {}{}; what is measured on them says little of other text",
                     overlap.size(), overlap.size() == 1 ? "row is" : "rows are", fmt::join(shown, ", "),
                     overlap.size() > kShown ? ", ..." : "");
}

bool is_importance_kept(const std::filesystem::path& kept) {
  return std::filesystem::exists(kept) && std::filesystem::exists(hash_of_kept(kept)) &&
         read_text_file(hash_of_kept(kept)) == sha256_file(kept);
}

std::pair<ImportanceMatrix, std::vector<std::string>> importance_for_export(
    const std::string& path, const std::filesystem::path& kept, const DataSet* eval,
    const std::function<Calibration(const DataSection&)>& load,
    const std::function<ImportanceMatrix(const Calibration&)>& run) {
  ImportanceMatrix matrix;
  if (is_importance_file(path)) {
    matrix = read_importance(path);
  } else if (is_importance_kept(kept)) {
    matrix = read_importance(kept);
  } else {
    matrix = run(load({.train = {{path}}, .eval_split = 0}));
    TempFile file(kept);
    write_importance(matrix, file.path());
    file.publish(IfExists::replace);
    publish_file(hash_of_kept(kept), sha256_file(kept));
  }
  std::vector<std::string> warnings;
  if (eval == nullptr) return {std::move(matrix), warnings};
  const std::set<std::string> calibrated(matrix.rows.begin(), matrix.rows.end());
  const auto equal = std::ranges::count_if(
      eval->examples, [&](const Example& example) { return calibrated.contains(calibration_row_hash(example.text)); });
  if (equal > 0)
    warnings.push_back(
        fmt::format("export.imatrix: {} of {} held-out rows were calibrated on, too: what is measured "
                    "on them says little of other text",
                    equal, eval->examples.size()));
  return {std::move(matrix), std::move(warnings)};
}

}  // namespace prentice

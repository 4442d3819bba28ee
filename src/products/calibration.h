// Calibration data: rows as pieces of text that a model is run on for an importance matrix, the run itself, and what of
// the rows is also evaluated on. Shared by the kind `imatrix` and by export.imatrix.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "config/schema.h"
#include "data/encode.h"
#include "io/importance_matrix.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace prentice {

// Tokens of a chunk of text (llama-imatrix's own).
inline constexpr int64_t kCalibrationChunk = 512;

struct Calibration {
  DataSet rows;                      // as read; their ids have gone into `sequences`
  std::vector<Sequence> sequences;   // each is run by itself
  int64_t tokens = 0, left_out = 0;  // left out: of text, behind the last whole chunk
  uint32_t chunks = 0, chunk_size = 0;
  std::vector<std::string> datasets;  // names of the files
  std::vector<std::string> overlap;   // with data.eval: "text.txt:3 = test.jsonl:8", equal rows
};

// Running text is joined in the order of the files, tokenized without end tokens and cut into chunks of
// data.max_length, each with the tokenizer's BOS in place of its first token; the rest is left out (llama-imatrix).
// Rows of other formats are run as the model sees them, each for itself. Errors: those of load_data; `data` for text of
// less than a chunk.
Calibration load_calibration(const DataSection& section, const Tokenizer& tokenizer, const ModelSpec& spec,
                             int threads);

// What the model makes of it. `progress` sees how many of the sequences are done; what it throws ends the work.
ImportanceMatrix collect_importance(const Model& model, const Calibration& calibration,
                                    const std::function<void(int64_t done, int64_t total)>& progress);

// "12 of 800 calibration rows are evaluated on, too: ..."; "" where none is.
std::string calibration_warning(const Calibration& calibration);

// Whether `kept` holds a whole matrix that importance_for_export has left there: a GGUF file has no checksum of its
// own, and another matrix would make other blocks without a word.
bool is_importance_kept(const std::filesystem::path& kept);

// The matrix that export.imatrix names: of a file, or what `run` makes of the data there; with a warning where it was
// collected on rows of `eval` (null: there are none). What was collected is kept in the file `kept`, and taken from
// there when a killed export goes on.
std::pair<ImportanceMatrix, std::vector<std::string>> importance_for_export(
    const std::string& path, const std::filesystem::path& kept, const DataSet* eval,
    const std::function<Calibration(const DataSection&)>& load,
    const std::function<ImportanceMatrix(const Calibration&)>& run);

}  // namespace prentice

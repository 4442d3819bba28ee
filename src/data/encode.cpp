#include "data/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "data/data_template.h"
#include "data/formats.h"
#include "data/load.h"
#include "data/problems.h"
#include "data/raw_text.h"
#include "data/row_encoder.h"
#include "data/split.h"

namespace prentice {

namespace {

std::string rows_are(int64_t count) { return count == 1 ? "1 row is" : with_commas(count) + " rows are"; }

void add_warnings(const DataSection& section, const ChatTemplate* chat_template, DataSet& set) {
  auto& warnings = set.encoded.warnings;
  if (chat_template && are_raw(set.format, set.chat)) warnings.emplace_back(kRawTextWarning);
  if (set.chat && chat_template->asks_for_the_date() && !section.template_args.contains("date_string")) {
    warnings.push_back(fmt::format("{} writes a date into every row; data.template_args.date_string fixes which",
                                   chat_template->origin()));
  }
  const auto& encoded = set.encoded;
  if (encoded.dropped > 0) {
    warnings.push_back(fmt::format("{} left out: too long for data.max_length", rows_are(encoded.dropped)));
  }
  if (encoded.truncated > 0) {
    warnings.push_back(
        fmt::format("{} cut, by {} tokens in all", rows_are(encoded.truncated), with_commas(encoded.truncated_tokens)));
  }
}

// Where the rows of one side come from.
struct Provenance {
  DataFormat format;
  bool weighted;
  std::string files;
  std::string note;  // ", held out"
};

DataSet encode_rows(std::vector<Row> rows, const Provenance& from, const DataSection& section,
                    const Tokenizer& tokenizer, const ChatTemplate* chat_template, const EncodeOptions& options,
                    Problems& problems) {
  DataSet set;
  set.format = from.format;
  set.chat = std::any_of(rows.begin(), rows.end(), [](const Row& row) { return row.kind == RowKind::chat; });
  set.description = fmt::format(
      "{}{}, {} {} from {}{}", format_word(from.format),
      set.chat && from.format != DataFormat::messages && from.format != DataFormat::sharegpt ? " as conversations" : "",
      with_commas(static_cast<int64_t>(rows.size())), rows.size() == 1 ? "row" : "rows", from.files, from.note);
  RowEncoder(section, tokenizer, chat_template, options).encode(std::move(rows), set, problems);
  if (!from.weighted) set.encoded.mix_weights.clear();
  if (set.examples.empty() && problems.empty()) {
    const bool cut = section.overlong == Overlong::truncate;
    fail(ExitCode::data,
         fmt::format("no row of {} is left: {} too long for {}{}", from.files, rows_are(set.encoded.dropped),
                     section.max_length ? "data.max_length"
                                        : fmt::format("the model's {} tokens", with_commas(options.max_length)),
                     cut ? " even without all that may be cut" : ""),
         section.max_length ? "raise data.max_length" : "take shorter rows, or a model that reads longer ones");
  }
  add_warnings(section, chat_template, set);
  return set;
}

const ChatTemplate* pointer(const std::optional<ChatTemplate>& chat_template) {
  return chat_template ? &*chat_template : nullptr;
}

void append(std::vector<std::string>& to, const std::vector<std::string>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

DataSet load_data_set(const std::vector<WeightedFile>& files, const DataSection& section, const Tokenizer& tokenizer,
                      const EncodeOptions& options) {
  const auto chat_template = open_chat_template(section, tokenizer);
  const RowMaker maker(section, chat_template.has_value(), options.use);
  Problems problems;
  auto loaded = load_rows(files, section, maker, options.threads, problems);
  auto set = encode_rows(std::move(loaded.rows), {loaded.format, loaded.weighted, loaded.files, ""}, section, tokenizer,
                         pointer(chat_template), options, problems);
  problems.throw_if_any();
  append(set.encoded.warnings, loaded.warnings);
  return set;
}

TrainEvalSets load_data(const DataSection& section, const Tokenizer& tokenizer, const EncodeOptions& options,
                        uint64_t seed) {
  if (!section.eval.empty() && section.eval_split.value_or(0) > 0) {
    fail(ExitCode::usage, "data.eval_split and data.eval both say what is held out", "remove one of them");
  }
  const auto chat_template = open_chat_template(section, tokenizer);
  const RowMaker maker(section, chat_template.has_value(), options.use);
  Problems problems;
  auto loaded = load_rows(section.train, section, maker, options.threads, problems);
  const auto rows = static_cast<int64_t>(loaded.rows.size());
  // Where records are bad the others are only looked through, too: nothing is held out of them.
  const bool splits = section.eval.empty() && problems.empty();
  const int64_t held_out = splits ? held_out_count(section.eval_split, rows) : 0;
  std::vector<Row> train_rows, eval_rows;
  const auto is_held_out = choose_held_out(loaded.rows, held_out, section, seed);
  for (size_t i = 0; i < loaded.rows.size(); ++i) {
    (is_held_out[i] ? eval_rows : train_rows).push_back(std::move(loaded.rows[i]));
  }

  auto eval_options = options;
  eval_options.for_evaluation = true;
  TrainEvalSets sets;
  sets.train = encode_rows(std::move(train_rows), {loaded.format, loaded.weighted, loaded.files, ""}, section,
                           tokenizer, pointer(chat_template), options, problems);
  append(sets.train.encoded.warnings, loaded.warnings);
  if (!section.eval.empty()) {
    auto given = load_rows(section.eval, section, maker, options.threads, problems);
    sets.eval = encode_rows(std::move(given.rows), {given.format, given.weighted, given.files, ""}, section, tokenizer,
                            pointer(chat_template), eval_options, problems);
    append(sets.eval->encoded.warnings, given.warnings);
  } else if (!eval_rows.empty()) {
    sets.eval = encode_rows(std::move(eval_rows), {loaded.format, false, loaded.files, ", held out"}, section,
                            tokenizer, pointer(chat_template), eval_options, problems);
  }
  problems.throw_if_any();
  if (sets.eval) sets.overlap = find_overlap(sets.train, *sets.eval);
  return sets;
}

}  // namespace prentice

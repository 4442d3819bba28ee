// Rows to sequences: renders conversations, tokenizes in batches, marks what is trained, handles rows that are too
// long.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "config/schema.h"
#include "data/data_set.h"
#include "data/problems.h"
#include "data/row.h"
#include "data/targets.h"
#include "text/chat.h"
#include "text/tokenizer.h"

namespace prentice {

class RowEncoder {
 public:
  // `chat_template` may be null when no row is a conversation. Errors: `usage` for a max_length above the model's.
  RowEncoder(const DataSection& section, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
             const EncodeOptions& options);

  // Appends all rows to `set` in order; a pair as two sequences, or with RowUse::labels as two examples. Bad rows are
  // left out and added to `problems`.
  void encode(std::vector<Row> rows, DataSet& set, Problems& problems);

 private:
  // A row on its way: its text, what is trained of it, its tokens, and in the end its sequences.
  struct Draft {
    std::string text, prompt, completion;  // as Example's
    std::vector<TrainedSpan> spans;
    bool add_special = true, needs_offsets = true;
    Encoding encoding;
    std::vector<Sequence> sequences;
    int64_t length = 0;  // tokens before anything was cut
    int64_t cut_tokens = 0;
    bool failed = false, too_long = false, dropped = false;
    std::string straddling;  // the token that crosses the border of what is trained
  };
  // A mistake that is counted over all rows and shown once.
  struct Tally {
    int64_t count = 0;
    Origin origin;  // of the first
    RowKind kind = RowKind::text;
    std::string what;
  };

  void encode_chunk(std::vector<Row>& rows, size_t begin, size_t end, DataSet& set);
  void tokenize(std::vector<Draft>& drafts) const;
  void append(std::span<Row> rows, std::span<Draft> drafts, DataSet& set);  // of one example
  void check_sides(std::span<const Row> rows, std::span<Draft> drafts);
  void report(int64_t rows, bool pairs);

  Draft draft_of(const Row& row) const;
  void finish(const Row& row, Draft& draft) const;
  Overlong overlong_of(RowKind kind) const;
  bool exceeds(const Draft& draft) const { return limit_ > 0 && draft.length > limit_; }
  void check_options(const std::vector<Row>& rows) const;
  void check_bos(const std::vector<int32_t>& ids) const;
  size_t leading_added(const Encoding& encoding) const;

  // row_encoder_chat.cpp
  Draft draft_chat(const Row& row) const;
  void finish_chat(const Row& row, Draft& draft) const;
  void fit_chat(const Row& row, Draft& draft) const;
  std::vector<double> message_weights(const Row& row) const;
  bool settle_straddles(const Row& row, Draft& draft, TokenTargets& targets) const;
  int64_t generation_begin(const Row& row, const Draft& draft, size_t message) const;
  void check_turn_ends(const Draft& draft, const TokenTargets& targets) const;
  bool ends_a_turn(int32_t id) const;

  // row_encoder_raw.cpp
  Draft draft_raw(const Row& row) const;
  void finish_pair(const Row& row, Draft& draft) const;
  void finish_text(Draft& draft) const;
  void apply_eos(RowKind kind, Draft& draft) const;

  const DataSection& section_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  EncodeOptions options_;
  RenderOptions render_options_;
  int64_t limit_ = 0;
  Problems problems_;
  std::vector<int64_t> lengths_;
  Tally too_long_, straddling_;
};

}  // namespace prentice

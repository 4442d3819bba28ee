#include "data/row_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "data/data_template.h"
#include "data/left_out.h"
#include "data/lengths.h"
#include "data/parallel.h"

namespace prentice {

namespace {

constexpr size_t kChunk = 4096;  // rows whose text and offsets are in memory at once; no pair lies across two

// Each pair as two rows, chosen first.
std::vector<Row> by_sides(std::vector<Row> rows) {
  std::vector<Row> sides;
  sides.reserve(2 * rows.size());
  for (auto& row : rows) {
    auto rejected = std::exchange(row.rejected, {});
    sides.push_back(std::move(row));
    const Row& chosen = sides.back();
    for (auto& side : rejected) {
      side.origin = chosen.origin;
      side.mix_weight = chosen.mix_weight;
    }
    std::move(rejected.begin(), rejected.end(), std::back_inserter(sides));
  }
  return sides;
}

}  // namespace

RowEncoder::RowEncoder(const DataSection& section, const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                       const EncodeOptions& options)
    : section_(section), tokenizer_(tokenizer), template_(chat_template), options_(options) {
  limit_ = section.max_length.value_or(options.max_length);
  if (options.max_length > 0 && limit_ > options.max_length) {
    fail(ExitCode::usage, fmt::format("data.max_length: {} is above the model's {}", limit_, options.max_length));
  }
  render_options_.arguments = template_arguments(section);
}

void RowEncoder::check_options(const std::vector<Row>& rows) const {
  for (const auto& row : rows) {
    if (section_.overlong == Overlong::truncate && !row.rejected.empty()) {
      fail(ExitCode::usage, "data.overlong: truncate would compare two answers that are not whole",
           "use error or drop");
    }
    if (section_.overlong == Overlong::split && row.kind != RowKind::text) {
      fail(ExitCode::usage, "data.overlong: split is for texts; these rows have a prompt and an answer",
           "use error, drop or truncate");
    }
    if (row.kind == RowKind::chat && section_.eos != EosMode::automatic) {
      fail(ExitCode::usage, "data.eos: the chat template writes the end of a turn; the key is for raw rows");
    }
  }
}

void RowEncoder::encode(std::vector<Row> rows, DataSet& set, Problems& problems) {
  check_options(rows);
  if (std::ranges::any_of(rows, [](const Row& row) { return row.kind == RowKind::chat; })) {
    require_string_contents(*template_, render_options_);
    auto sentences = parts_left_out(rows, *template_, render_options_, options_.threads);
    std::ranges::move(sentences, std::back_inserter(set.encoded.warnings));
  }
  std::ranges::move(members_of_raw_rows(rows, section_), std::back_inserter(set.encoded.warnings));
  const bool pairs = std::any_of(rows.begin(), rows.end(), [](const Row& row) { return !row.rejected.empty(); });
  if (pairs) rows = by_sides(std::move(rows));
  set.encoded.group = pairs && options_.use == RowUse::pairs ? 2 : 1;
  for (size_t begin = 0; begin < rows.size(); begin += kChunk) {
    encode_chunk(rows, begin, std::min(begin + kChunk, rows.size()), set);
  }
  report(static_cast<int64_t>(rows.size()) / set.encoded.group, pairs);
  problems.merge(problems_);
  for (const auto& sequence : set.encoded.sequences) {
    set.encoded.longest = std::max(set.encoded.longest, sequence.size());
  }
}

void RowEncoder::encode_chunk(std::vector<Row>& rows, size_t begin, size_t end, DataSet& set) {
  const auto count = static_cast<int64_t>(end - begin);
  std::vector<Draft> drafts(count);
  const auto for_each_row = [&](const auto& work) {
    std::vector<Problems> found(std::max(options_.threads, 1));
    parallel_ranges(count, options_.threads, [&](int64_t chunk, int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const auto& row = rows[begin + i];
        if (drafts[i].failed) continue;
        drafts[i].failed = !found[chunk].collect(row.origin, [&] { work(row, drafts[i]); });
      }
    });
    for (const auto& part : found) problems_.merge(part);
  };
  for_each_row([&](const Row& row, Draft& draft) { draft = draft_of(row); });
  tokenize(drafts);
  for_each_row([&](const Row& row, Draft& draft) { finish(row, draft); });
  const int64_t group = set.encoded.group;
  for (int64_t i = 0; i < count; i += group) {
    append(std::span(rows).subspan(begin + i, group), std::span(drafts).subspan(i, group), set);
  }
}

// One call of the tokenizer for each combination of its two switches.
void RowEncoder::tokenize(std::vector<Draft>& drafts) const {
  for (const bool add_special : {false, true}) {
    for (const bool offsets : {false, true}) {
      std::vector<Draft*> members;
      std::vector<std::string> texts;
      for (auto& draft : drafts) {
        if (draft.failed || draft.add_special != add_special || draft.needs_offsets != offsets) continue;
        members.push_back(&draft);
        texts.push_back(std::move(draft.text));
      }
      if (members.empty()) continue;
      auto encodings = tokenizer_.encode_batch(texts, add_special, offsets, options_.threads);
      for (size_t i = 0; i < members.size(); ++i) {
        members[i]->encoding = std::move(encodings[i]);
        members[i]->text = std::move(texts[i]);
      }
    }
  }
}

RowEncoder::Draft RowEncoder::draft_of(const Row& row) const {
  return row.kind == RowKind::chat ? draft_chat(row) : draft_raw(row);
}

void RowEncoder::finish(const Row& row, Draft& draft) const {
  if (row.kind == RowKind::chat) finish_chat(row, draft);
  if (row.kind == RowKind::pair) finish_pair(row, draft);
  if (row.kind == RowKind::text) finish_text(draft);
  const bool counted = draft.too_long || draft.dropped || !draft.straddling.empty();
  if (counted || std::any_of(draft.sequences.begin(), draft.sequences.end(), has_label)) return;
  bad_record("no token of this row is trained",
             row.kind == RowKind::chat ? "it needs a message of the assistant with a weight above 0" : "");
}

Overlong RowEncoder::overlong_of(RowKind kind) const {
  if (section_.overlong != Overlong::automatic) return section_.overlong;
  return kind == RowKind::text ? Overlong::split : Overlong::error;
}

void RowEncoder::check_bos(const std::vector<int32_t>& ids) const {
  const auto bos = tokenizer_.bos_id();
  if (!bos || ids.size() < 2 || ids[0] != *bos || ids[1] != *bos) return;
  bad_record(fmt::format("the row begins with two {} tokens", tokenizer_.bos_token()),
             fmt::format("the tokenizer or the template adds one: take {} out of the text", tokenizer_.bos_token()));
}

size_t RowEncoder::leading_added(const Encoding& encoding) const {
  size_t added = 0;
  while (added < encoding.ids.size() && encoding.offsets[added] == ByteSpan{} &&
         tokenizer_.is_special(encoding.ids[added])) {
    ++added;
  }
  return added;
}

// The two sides of a pair must differ where it counts: in tokens.
void RowEncoder::check_sides(std::span<const Row> rows, std::span<Draft> drafts) {
  if (rows.size() < 2 || drafts[0].sequences.empty() || drafts[1].sequences.empty()) return;
  const bool good = problems_.collect(rows[0].origin, [&] {
    if (drafts[0].sequences[0].ids == drafts[1].sequences[0].ids) {
      bad_record("chosen and rejected are the same tokens", "leave the row out: it prefers nothing");
    }
  });
  drafts[0].failed = !good;
}

void RowEncoder::append(std::span<Row> rows, std::span<Draft> drafts, DataSet& set) {
  const auto any = [&](auto member) { return std::any_of(drafts.begin(), drafts.end(), std::mem_fn(member)); };
  check_sides(rows, drafts);
  if (any(&Draft::failed)) return;
  auto& encoded = set.encoded;
  const auto longest = std::max_element(drafts.begin(), drafts.end(),
                                        [](const Draft& a, const Draft& b) { return a.length < b.length; });
  const bool straddles =
      std::any_of(drafts.begin(), drafts.end(), [](const Draft& d) { return !d.straddling.empty(); });
  if (!straddles) lengths_.push_back(longest->length);
  const auto count_mistake = [&](Tally& tally, std::string what) {
    if (tally.count++ == 0) tally = {1, rows[0].origin, rows[0].kind, std::move(what)};
  };
  if (any(&Draft::too_long)) return count_mistake(too_long_, with_commas(longest->length));
  for (auto& draft : drafts) {
    if (!draft.straddling.empty()) return count_mistake(straddling_, std::move(draft.straddling));
  }
  if (any(&Draft::dropped)) {
    ++encoded.dropped;
    return;
  }
  for (size_t i = 0; i < drafts.size(); ++i) {
    encoded.truncated += drafts[i].cut_tokens > 0;
    encoded.truncated_tokens += drafts[i].cut_tokens;
    for (auto& sequence : drafts[i].sequences) {
      if (!has_label(sequence)) continue;
      sequence.sample = static_cast<int64_t>(set.examples.size());
      sequence.role = rows[i].role;
      encoded.sequences.push_back(std::move(sequence));
    }
  }
  Draft& draft = drafts[0];
  Row& row = rows[0];
  encoded.origins.push_back(row.origin);
  encoded.mix_weights.push_back(row.mix_weight);
  set.examples.push_back({std::move(draft.prompt), std::move(draft.completion), std::move(draft.text),
                          std::move(row.reference), std::move(row.record)});
}

void RowEncoder::report(int64_t rows, bool pairs) {
  if (straddling_.count > 0) {
    const bool chat = straddling_.kind == RowKind::chat;
    problems_.add(mistake_at(
        straddling_.origin,
        fmt::format(
            "in {} of {} rows a token straddles the border between prompt and completion; in the first it is \"{}\"",
            with_commas(straddling_.count), with_commas(rows), straddling_.what),
        chat ? "the template's generation prompt must not end with a space that the answer's first token takes in"
             : "move the space from the end of the prompt to the beginning of the completion"));
  }
  if (too_long_.count > 0) {
    const auto stats = length_stats(lengths_);
    problems_.add(mistake_at(
        too_long_.origin,
        fmt::format("{} of {} rows are longer than {} tokens (p50 {}, p95 {}, p99 {}, max {}); the first has {}",
                    with_commas(too_long_.count), with_commas(rows), with_commas(limit_), with_commas(stats.p50),
                    with_commas(stats.p95), with_commas(stats.p99), with_commas(stats.max), too_long_.what),
        fmt::format("data.max_length={} keeps them, where the model allows it; {}", stats.max,
                    pairs || options_.use != RowUse::examples ? "data.overlong=drop leaves them out"
                                                              : "data.overlong=truncate or drop shortens")));
  }
}

}  // namespace prentice

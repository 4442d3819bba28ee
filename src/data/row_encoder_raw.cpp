#include <fmt/format.h>

#include "data/row_encoder.h"

namespace prentice {

RowEncoder::Draft RowEncoder::draft_raw(const Row& row) const {
  Draft draft{.text = row.prompt + row.completion, .prompt = row.prompt, .completion = row.completion};
  draft.needs_offsets = row.kind == RowKind::pair;
  if (row.kind == RowKind::text) draft.completion.clear();
  if (row.kind == RowKind::pair) {
    const bool all = section_.train_on == TrainOn::all;
    const auto begin = static_cast<int64_t>(all ? 0 : row.prompt.size());
    draft.spans.push_back({{begin, static_cast<int64_t>(draft.text.size())}});
  }
  return draft;
}

// One EOS at the end where the rule wants it; none that the post-processor added where it does not, or where the text
// has its own.
void RowEncoder::apply_eos(RowKind kind, Draft& draft) const {
  const bool is_text = kind == RowKind::text;
  const bool wanted =
      section_.eos == EosMode::on || (section_.eos == EosMode::automatic && !(is_text && options_.for_evaluation));
  const auto eos = tokenizer_.eos_id();
  if (!eos) {
    if (!wanted) return;
    fail(ExitCode::usage, "the tokenizer names no eos_token, so the model could not learn where to stop",
         "add eos_token to tokenizer_config.json, or set data.eos: off");
  }
  auto& [ids, offsets] = draft.encoding;
  const auto drop_last = [&] {
    ids.pop_back();
    if (draft.needs_offsets) offsets.pop_back();
  };
  const auto token = tokenizer_.eos_token();
  const bool written = draft.text.ends_with(token);
  const bool twice = ids.size() > 1 && ids.back() == *eos && ids[ids.size() - 2] == *eos;
  if (written && twice && !draft.text.ends_with(token + token)) drop_last();
  const bool ends_with_eos = !ids.empty() && ids.back() == *eos;
  if (!wanted && ends_with_eos && !written) drop_last();
  if (wanted && !ends_with_eos) {
    ids.push_back(*eos);
    const auto end = static_cast<int64_t>(draft.text.size());
    if (draft.needs_offsets) offsets.push_back({end, end});
  }
}

void RowEncoder::finish_pair(const Row& row, Draft& draft) const {
  apply_eos(row.kind, draft);
  check_bos(draft.encoding.ids);
  auto& ids = draft.encoding.ids;
  const size_t added = leading_added(draft.encoding);
  auto targets = find_targets(draft.encoding, draft.spans, added);
  if (!targets.straddles.empty()) {
    const auto [begin, end] = draft.encoding.offsets[targets.straddles[0].token];
    draft.straddling = draft.text.substr(begin, end - begin);
    return;
  }
  const auto eos = tokenizer_.eos_id();
  const bool ends_with_eos = eos && !ids.empty() && ids.back() == *eos;
  if (ends_with_eos) targets.weights.back() = 1;
  draft.length = static_cast<int64_t>(ids.size());
  const auto mode = overlong_of(row.kind);
  if (exceeds(draft) && mode == Overlong::error) {
    draft.too_long = true;
  } else if (exceeds(draft) && mode == Overlong::drop) {
    draft.dropped = true;
  } else {
    int64_t border = static_cast<int64_t>(added);
    while (border < draft.length && draft.encoding.offsets[border].begin < static_cast<int64_t>(row.prompt.size()))
      ++border;
    TokenRow cut{std::move(ids), std::move(targets.weights)};
    if (exceeds(draft)) {
      cut = cut_pair(std::move(cut), limit_, static_cast<int64_t>(added), border, ends_with_eos);
      draft.cut_tokens = draft.length - limit_;
    }
    draft.sequences.push_back(make_sequence(std::move(cut.ids), cut.targets));
  }
}

void RowEncoder::finish_text(Draft& draft) const {
  apply_eos(RowKind::text, draft);
  check_bos(draft.encoding.ids);
  TokenRow row{std::move(draft.encoding.ids), {}};
  row.targets.assign(row.ids.size(), 1.0F);
  draft.length = static_cast<int64_t>(row.ids.size());
  if (!exceeds(draft)) {
    draft.sequences.push_back(make_sequence(std::move(row.ids), row.targets));
    return;
  }
  switch (overlong_of(RowKind::text)) {
    case Overlong::drop:
      draft.dropped = true;
      break;
    case Overlong::truncate:
      row.ids.resize(limit_);
      row.targets.resize(limit_);
      draft.cut_tokens = draft.length - limit_;
      draft.sequences.push_back(make_sequence(std::move(row.ids), row.targets));
      break;
    case Overlong::split:
      draft.sequences = split_text(row, limit_);
      break;
    default:
      draft.too_long = true;
  }
}

}  // namespace prentice

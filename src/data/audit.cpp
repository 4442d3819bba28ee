#include "data/audit.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/batch.h"
#include "data/problems.h"

namespace prentice {

namespace {

std::string_view side_word(int32_t role, int64_t group) {
  if (role == kNoRole) return "";
  if (group > 1) return role == kChosen ? "chosen" : "rejected";
  return role == kChosen ? "desirable" : "undesirable";
}

AuditSequence audit_sequence(const Sequence& sequence, const EncodedSet& set, const Tokenizer& tokenizer) {
  AuditSequence out{
      .origin = set.origins[sequence.sample], .piece = sequence.piece, .side = side_word(sequence.role, set.group)};
  StreamDecoder decoder(tokenizer, /*skip_special=*/false);
  for (int64_t t = 0; t < sequence.size(); ++t) {
    AuditToken token{.id = sequence.ids[t], .text = decoder.push(sequence.ids[t])};
    if (t > 0 && sequence.labels[t - 1] != kNoLabel) {
      token.trained = true;
      token.weight = sequence.weights.empty() ? 1.0F : sequence.weights[t - 1];
      ++out.trained;
    }
    out.tokens.push_back(std::move(token));
  }
  if (!out.tokens.empty()) out.tokens.back().text += decoder.finish();
  return out;
}

// Text that a terminal shows but does not obey. A line break is shown and made.
std::string visible(std::string_view text, bool escape_brackets) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto c = static_cast<unsigned char>(text[at]);
    const bool c1_control = c == 0xc2 && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xa0;
    if (c == '\n') {
      out += "\\n\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else if (c1_control) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text[++at]));
    } else if (c == '\\' || (escape_brackets && (c == '[' || c == ']'))) {
      out += '\\';
      out += text[at];
    } else {
      out += text[at];
    }
  }
  return out;
}

std::string text_of(const AuditSequence& sequence, AuditStyle style) {
  const bool colour = style == AuditStyle::colour;
  const std::string_view open = colour ? "\x1b[32m" : "[", close = colour ? "\x1b[0m" : "]";
  std::string out;
  bool inside = false;
  for (const auto& token : sequence.tokens) {
    if (token.trained != inside) out += inside ? close : open;
    inside = token.trained;
    out += visible(token.text, !colour);
  }
  if (inside) out += close;
  return out;
}

std::string ids_of(const AuditSequence& sequence, AuditStyle style) {
  std::string out;
  for (const auto& token : sequence.tokens) {
    if (!out.empty()) out += ' ';
    const auto weight = token.trained && token.weight != 1 ? fmt::format("*{:g}", token.weight) : "";
    const auto id = std::to_string(token.id) + weight;
    if (!token.trained) {
      out += id;
    } else {
      out += style == AuditStyle::colour ? "\x1b[32m" + id + "\x1b[0m" : "[" + id + "]";
    }
  }
  return out;
}

}  // namespace

Audit audit_data(const DataSet& set, const Tokenizer& tokenizer, int64_t examples) {
  const auto& encoded = set.encoded;
  Audit audit{.description = set.description, .rows = static_cast<int64_t>(set.examples.size())};
  const auto shown = std::min<int64_t>(examples * encoded.group, static_cast<int64_t>(encoded.sequences.size()));
  for (int64_t i = 0; i < shown; ++i) {
    audit.sequences.push_back(audit_sequence(encoded.sequences[i], encoded, tokenizer));
  }
  audit.totals = token_totals(encoded.sequences);
  for (const int32_t role : {kChosen, kRejected}) {
    const auto lengths = lengths_of_role(encoded.sequences, role);
    if (lengths.max > 0) audit.sides.emplace_back(side_word(role, encoded.group), lengths);
  }
  if (audit.totals.tokens > 0) {
    audit.trained_share = static_cast<double>(audit.totals.trained_tokens) / static_cast<double>(audit.totals.tokens);
  }
  audit.dropped = encoded.dropped;
  audit.truncated = encoded.truncated;
  audit.truncated_tokens = encoded.truncated_tokens;
  audit.warnings = encoded.warnings;
  return audit;
}

std::string render_audit(const Audit& audit, AuditStyle style, bool show_ids) {
  std::string out = audit.description + "\n";
  for (const auto& sequence : audit.sequences) {
    const auto piece = sequence.piece > 0 ? fmt::format(", piece {}", sequence.piece + 1) : "";
    const auto side = sequence.side.empty() ? "" : fmt::format(", {}", sequence.side);
    out += fmt::format("\n--- {}{}{}: {} of {} tokens are trained\n", to_string(sequence.origin), piece, side,
                       with_commas(sequence.trained), with_commas(static_cast<int64_t>(sequence.tokens.size())));
    out += text_of(sequence, style) + "\n";
    if (show_ids) out += "ids " + ids_of(sequence, style) + "\n";
  }
  const auto& totals = audit.totals;
  out += fmt::format("\n{} rows, {} sequences, {} tokens, {} trained ({:.1f} %)\n", with_commas(audit.rows),
                     with_commas(totals.sequences), with_commas(totals.tokens), with_commas(totals.trained_tokens),
                     100 * audit.trained_share);
  const auto add_lengths = [&](std::string_view of, const LengthStats& stats) {
    out += fmt::format("tokens a {}: p50 {}, p95 {}, p99 {}, max {}\n", of, with_commas(stats.p50),
                       with_commas(stats.p95), with_commas(stats.p99), with_commas(stats.max));
  };
  add_lengths("sequence", totals.lengths);
  for (const auto& [side, stats] : audit.sides) add_lengths(fmt::format("{} answer with its prompt", side), stats);
  if (audit.dropped > 0) out += fmt::format("dropped: {} rows\n", with_commas(audit.dropped));
  if (audit.truncated > 0) {
    out += fmt::format("truncated: {} rows, {} tokens\n", with_commas(audit.truncated),
                       with_commas(audit.truncated_tokens));
  }
  for (const auto& warning : audit.warnings) out += "warning: " + warning + "\n";
  return out;
}

}  // namespace prentice

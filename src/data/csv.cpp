#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace prentice {

namespace {

class CsvReader {
 public:
  CsvReader(std::string_view text, char separator) : text_(text), separator_(separator) {}

  // Reads the next row that is not an empty line; false at the end. After a broken quote mistake() says what is wrong
  // and the reader stands behind the line of the mistake.
  bool next(CsvRow& row) {
    while (at_ < text_.size() && (text_[at_] == '\n' || text_[at_] == '\r')) line_ += text_[at_++] == '\n';
    if (at_ >= text_.size()) return false;
    row = {{}, line_};
    mistake_.clear();
    do {
      row.fields.push_back(peek() == '"' ? quoted() : plain());
    } while (mistake_.empty() && take(separator_));
    take('\r');
    if (take('\n')) ++line_;
    return true;
  }

  const std::string& mistake() const { return mistake_; }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char wanted) {
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  bool at_field_end() const {
    return at_ >= text_.size() || text_[at_] == separator_ || text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n" ||
           text_.substr(at_) == "\r";
  }
  std::string plain() {
    const size_t begin = at_;
    while (!at_field_end()) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }
  std::string quoted() {
    std::string field;
    for (++at_;;) {
      const size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) {
        at_ = text_.size();
        mistake_ = "a quoted field that begins in this row is never closed";
        return field;
      }
      field += text_.substr(at_, quote - at_);
      at_ = quote + 1;
      if (!take('"')) break;
      field += '"';
    }
    line_ += std::count(field.begin(), field.end(), '\n');
    if (at_field_end()) return field;
    mistake_ = fmt::format("expected a separator after the closing quote, got '{}'", text_[at_]);
    at_ = std::min(text_.find('\n', at_), text_.size());
    return field;
  }

  std::string_view text_;
  char separator_;
  size_t at_ = 0;
  int64_t line_ = 1;
  std::string mistake_;
};

std::string header_mistake(const std::vector<std::string>& header) {
  for (auto name = header.begin(); name != header.end(); ++name) {
    if (std::find(header.begin(), name, *name) != name) return fmt::format("two columns are named \"{}\"", *name);
  }
  return "";
}

}  // namespace

char guess_separator(std::string_view text, char otherwise) {
  const auto header = text.substr(0, text.find('\n'));
  char best = otherwise;
  int64_t most = 0;
  for (const char candidate : {otherwise, ',', '\t', ';'}) {
    const auto count = std::count(header.begin(), header.end(), candidate);
    if (count > most) most = count, best = candidate;
  }
  return best;
}

CsvTable read_csv(std::string_view text, const CsvOptions& options, const std::string& file, Problems& problems) {
  constexpr auto kQuoteHint = "a quote inside a quoted field is written twice";
  const auto report = [&](const CsvRow& row, std::string message, std::string hint) {
    problems.add({std::move(message), std::move(hint), file, static_cast<int>(row.line)});
  };
  CsvTable table;
  CsvReader reader(text, options.separator);
  CsvRow row;
  if (!reader.next(row)) return table;
  if (!reader.mistake().empty()) return report(row, reader.mistake(), kQuoteHint), table;
  if (auto mistake = header_mistake(row.fields); !mistake.empty()) {
    return report(row, std::move(mistake), "rename one of them in the header"), table;
  }
  table.header = row.fields;
  const auto full = [&] { return options.limit > 0 && static_cast<int64_t>(table.rows.size()) >= options.limit; };
  while ((options.count || !full()) && reader.next(row)) {
    ++table.total;
    if (full()) continue;
    if (!reader.mistake().empty()) {
      report(row, reader.mistake(), kQuoteHint);
    } else if (row.fields.size() != table.header.size()) {
      report(row, fmt::format("expected {} fields as in the header, got {}", table.header.size(), row.fields.size()),
             "");
    } else {
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

}  // namespace prentice

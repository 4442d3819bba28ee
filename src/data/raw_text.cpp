#include "data/raw_text.h"

#include <algorithm>

#include "data/load.h"

namespace prentice {

namespace {

constexpr int64_t kLookedRows = 100;

}  // namespace

bool are_raw(DataFormat format, bool chat) { return !chat && format != DataFormat::text; }

bool begin_raw(const DataSection& section, RowUse use) {
  DataSection first = section;
  first.limit = section.limit == 0 ? kLookedRows : std::min(section.limit, kLookedRows);
  const RowMaker maker(first, /*has_chat_template=*/true, use);
  Problems problems;
  const LoadedRows loaded = load_rows(first.train, first, maker, /*threads=*/1, problems);
  const bool chat = std::ranges::any_of(loaded.rows, [](const Row& row) { return row.kind == RowKind::chat; });
  return !loaded.rows.empty() && are_raw(loaded.format, chat);
}

}  // namespace prentice

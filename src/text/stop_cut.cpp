#include "text/stop_cut.h"

#include <algorithm>
#include <utility>

namespace prentice {

namespace {

// The length of the longest end of `text` that begins `word` without being all of it.
size_t begun(std::string_view text, std::string_view word) {
  for (size_t length = std::min(text.size(), word.size() - 1); length > 0; --length) {
    if (text.ends_with(word.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

StopCut::StopCut(std::vector<std::string> stop_texts) : stop_texts_(std::move(stop_texts)) {
  std::erase(stop_texts_, "");
}

std::string StopCut::push(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  size_t first = std::string::npos, keep = 0;
  for (const auto& word : stop_texts_) {
    first = std::min(first, held_.find(word));
    keep = std::max(keep, begun(held_, word));
  }
  stopped_ = first != std::string::npos;
  std::string certain = held_.substr(0, stopped_ ? first : held_.size() - keep);
  held_.erase(0, stopped_ ? held_.size() : certain.size());
  return certain;
}

std::string StopCut::finish() { return std::exchange(held_, ""); }

}  // namespace prentice

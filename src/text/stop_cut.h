// Ends a stream of text before the first of some stop texts, which may arrive in pieces: what could be the beginning of
// one is held back until it is known not to be.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace prentice {

class StopCut {
 public:
  explicit StopCut(std::vector<std::string> stop_texts);

  std::string push(std::string_view piece);  // what is certain to stand before any stop text
  std::string finish();                      // the rest; nothing once stopped
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stop_texts_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace prentice

// Reports mistakes of a recipe that is bound, at what the user wrote for a key.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "config/adapter_rules.h"
#include "config/kinds.h"
#include "config/node.h"
#include "config/values.h"

namespace prentice {

// Whether a word names where to compute: cpu, cuda or cuda:N.
bool is_device(std::string_view word);

class Checker {
 public:
  // `root`: where to point when a key is missing.
  Checker(const RecipeFacts& facts, RecipeMistakes& mistakes, Position root = {})
      : facts_(facts), root_(std::move(root)), mistakes_(mistakes) {}

  bool has(std::string_view key) const { return facts_.has(key); }
  // At the value of `key`; at `word` in it, an item of a list or a key of a map, where that stands there.
  Position position(std::string_view key, std::string_view word = "") const;

  void mistake(std::string_view key, std::string message, std::string hint = "");
  void mistake(const KeyMistake& found);
  void mistakes(const std::vector<KeyMistake>& found);
  // What `body` throws becomes mistakes of `key`.
  template <class Body>
  bool gather(std::string_view key, Body&& body, std::string_view word = "") {
    return mistakes_.gather(position(key, word), key, std::forward<Body>(body));
  }
  // Each of `keys` that was given has no effect because of `reason`.
  void without_effect(std::initializer_list<std::string_view> keys, std::string_view reason,
                      std::string hint = "remove the key");
  void exclusive(std::string_view key, std::string_view other);
  void whole_above_one(std::string_view key, double value);

 private:
  const RecipeFacts& facts_;
  Position root_;
  RecipeMistakes& mistakes_;
};

}  // namespace prentice

#include "adapter/pattern.h"

#include <bitset>
#include <functional>
#include <limits>

#include "core/error.h"

namespace prentice {

struct Pattern::Node {
  enum class Kind { characters, sequence, alternatives, repeat, lookahead, negative_lookahead, begin, end };
  Kind kind = Kind::sequence;
  std::bitset<256> set;        // characters: which bytes match
  std::vector<Node> children;  // repeat and look-ahead have one
  int64_t least = 0, most = 0;
  bool lazy = false;
};

namespace {

using Node = Pattern::Node;
using Kind = Node::Kind;

constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();
constexpr size_t kMaxSource = 4096;  // bytes
constexpr int kMaxNesting = 64;
constexpr int64_t kMaxSteps = 1'000'000;
constexpr int64_t kMaxDepth = 4000;  // of the matcher's recursion: well inside a thread's stack

std::bitset<256> class_of(char letter) {
  std::bitset<256> set;
  for (int c = 0; c < 256; ++c) {
    const bool digit = c >= '0' && c <= '9';
    const bool word = digit || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    const char kind = static_cast<char>(letter | 0x20);
    set[static_cast<size_t>(c)] = kind == 'd' ? digit : kind == 'w' ? word : space;
  }
  return (letter & 0x20) ? set : ~set;
}

class Parser {
 public:
  explicit Parser(std::string_view source) : source_(source) {}

  Node parse() {
    if (source_.size() > kMaxSource) refuse("the pattern is longer than 4096 bytes");
    Node root = alternatives(0);
    if (at_ < source_.size()) refuse("unbalanced ')'");
    return root;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail(ExitCode::malformed, "regular expression '" + std::string(source_.substr(0, 200)) + "', position " +
                                  std::to_string(at_) + ": " + what);
  }
  bool done() const { return at_ == source_.size(); }
  bool take(std::string_view text) {
    if (source_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  Node alternatives(int depth) {
    if (depth > kMaxNesting) refuse("more than 64 groups inside each other");
    Node node{.kind = Kind::alternatives};
    do node.children.push_back(sequence(depth));
    while (take("|"));
    return node;
  }

  Node sequence(int depth) {
    Node node{.kind = Kind::sequence};
    while (!done() && source_[at_] != '|' && source_[at_] != ')') node.children.push_back(repeated(depth));
    return node;
  }

  Node repeated(int depth) {
    Node inner = atom(depth);
    int64_t least = 1, most = 1;
    if (take("*")) {
      least = 0, most = kUnbounded;
    } else if (take("+")) {
      most = kUnbounded;
    } else if (take("?")) {
      least = 0;
    } else if (!counts(least, most)) {
      return inner;
    }
    if (inner.kind == Kind::begin || inner.kind == Kind::end) refuse("nothing to repeat");
    Node node{.kind = Kind::repeat, .least = least, .most = most, .lazy = take("?")};
    if (!done() && (source_[at_] == '*' || source_[at_] == '+' || source_[at_] == '?')) refuse("a repeat of a repeat");
    node.children.push_back(std::move(inner));
    return node;
  }

  // {m}, {m,}, {,n}, {m,n}; anything else in braces is literal, as in Python.
  bool counts(int64_t& least, int64_t& most) {
    if (done() || source_[at_] != '{') return false;
    size_t i = at_ + 1;
    const auto number = [&](int64_t absent) {
      int64_t value = 0;
      const size_t start = i;
      for (; i < source_.size() && source_[i] >= '0' && source_[i] <= '9'; ++i) {
        value = std::min<int64_t>(value * 10 + (source_[i] - '0'), 1'000'000);
      }
      return i == start ? absent : value;
    };
    const int64_t first = number(-1);
    int64_t second = first;
    if (i < source_.size() && source_[i] == ',') ++i, second = number(kUnbounded);
    const bool empty = first < 0 && (second < 0 || second == kUnbounded);
    if (i >= source_.size() || source_[i] != '}' || empty) return false;
    least = std::max<int64_t>(first, 0), most = second;
    if (least > most) refuse("the least count is above the largest");
    at_ = i + 1;
    return true;
  }

  Node atom(int depth) {
    const char c = source_[at_];
    if (c == '*' || c == '+' || c == '?') refuse("nothing to repeat");
    if (take("(")) return group(depth);
    if (take("[")) return {.kind = Kind::characters, .set = bracket()};
    if (take("^")) return {.kind = Kind::begin};
    if (take("$")) return {.kind = Kind::end};
    if (take("\\A")) return {.kind = Kind::begin};
    if (take("\\Z")) return {.kind = Kind::end};
    Node node{.kind = Kind::characters};
    if (take(".")) {
      node.set.set().reset('\n');
    } else {
      node.set = one_or_escape();
    }
    return node;
  }

  Node group(int depth) {
    Node node;
    if (take("?=")) {
      node.kind = Kind::lookahead, node.children.push_back(alternatives(depth + 1));
    } else if (take("?!")) {
      node.kind = Kind::negative_lookahead, node.children.push_back(alternatives(depth + 1));
    } else {
      if (take("?P<")) {
        const size_t close = source_.find('>', at_);
        if (close == std::string_view::npos) refuse("a group name without '>'");
        at_ = close + 1;
      } else if (!take("?:") && !done() && source_[at_] == '?') {
        refuse("this kind of group is not supported (look-behind, flags, back references)");
      }
      node = alternatives(depth + 1);
    }
    if (!take(")")) refuse("missing ')'");
    return node;
  }

  std::bitset<256> one_or_escape() {
    if (!take("\\")) return std::bitset<256>().set(static_cast<unsigned char>(source_[at_++]));
    if (done()) refuse("a backslash at the end");
    const char c = source_[at_++];
    if (std::string_view("dwsDWS").find(c) != std::string_view::npos) return class_of(c);
    const auto single = [](char byte) { return std::bitset<256>().set(static_cast<unsigned char>(byte)); };
    if (c == 'n') return single('\n');
    if (c == 't') return single('\t');
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) --at_, refuse(std::string("the escape \\") + c + " is not supported");
    return single(c);
  }

  std::bitset<256> bracket() {
    const bool negated = take("^");
    std::bitset<256> set;
    for (bool first = true; first || done() || source_[at_] != ']'; first = false) {
      if (done()) refuse("missing ']'");
      const std::bitset<256> low = one_or_escape();
      if (at_ + 1 < source_.size() && source_[at_] == '-' && source_[at_ + 1] != ']') {
        ++at_;
        const std::bitset<256> high = one_or_escape();
        if (low.count() != 1 || high.count() != 1) refuse("a class as the end of a range");
        const size_t from = low._Find_first(), to = high._Find_first();
        if (from > to) refuse("a range that runs backwards");
        for (size_t c = from; c <= to; ++c) set.set(c);
      } else {
        set |= low;
      }
    }
    ++at_;
    return negated ? ~set : set;
  }

  std::string_view source_;
  size_t at_ = 0;
};

// Backtracking with continuations: `next` is asked at every place where the node can end.
class Matcher {
 public:
  using Next = std::function<bool(size_t)>;
  Matcher(std::string_view source, std::string_view text) : source_(source), text_(text) {}

  bool match(const Node& node, size_t at, const Next& next) {
    const Level level(depth_);
    if (++steps_ > kMaxSteps || depth_ > kMaxDepth) {
      fail(ExitCode::malformed, "regular expression '" + std::string(source_.substr(0, 200)) +
                                    "': takes too many steps on '" + std::string(text_) + "'");
    }
    switch (node.kind) {
      case Kind::characters:
        return at < text_.size() && node.set[static_cast<unsigned char>(text_[at])] && next(at + 1);
      case Kind::begin:
        return at == 0 && next(at);
      case Kind::end:
        return at == text_.size() && next(at);
      case Kind::sequence:
        return match_sequence(node, 0, at, next);
      case Kind::alternatives:
        for (const Node& child : node.children) {
          if (match(child, at, next)) return true;
        }
        return false;
      case Kind::lookahead:
        return match(node.children[0], at, [](size_t) { return true; }) && next(at);
      case Kind::negative_lookahead:
        return !match(node.children[0], at, [](size_t) { return true; }) && next(at);
      case Kind::repeat:
        return match_repeat(node, 0, at, next);
    }
    return false;
  }

 private:
  struct Level {
    explicit Level(int64_t& depth) : depth(depth) { ++depth; }
    ~Level() { --depth; }
    int64_t& depth;
  };

  bool match_sequence(const Node& node, size_t child, size_t at, const Next& next) {
    if (child == node.children.size()) return next(at);
    return match(node.children[child], at, [&](size_t end) { return match_sequence(node, child + 1, end, next); });
  }

  bool match_repeat(const Node& node, int64_t done, size_t at, const Next& next) {
    const bool enough = done >= node.least;
    if (enough && node.lazy && next(at)) return true;
    const bool again = done < node.most && match(node.children[0], at, [&](size_t end) {
                         if (end == at)
                           return !enough && next(at);  // an empty round can stand for all that are still due
                         return match_repeat(node, done + 1, end, next);
                       });
    return again || (enough && !node.lazy && next(at));
  }

  std::string_view source_, text_;
  int64_t steps_ = 0, depth_ = 0;
};

}  // namespace

Pattern::Pattern(std::string source)
    : source_(std::move(source)), root_(std::make_unique<Node>(Parser(source_).parse())) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

bool Pattern::matches(std::string_view text) const {
  return Matcher(source_, text).match(*root_, 0, [&](size_t end) { return end == text.size(); });
}

bool looks_like_pattern(std::string_view text) {
  for (const char c : text) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    if (!plain) return true;
  }
  return false;
}

}  // namespace prentice

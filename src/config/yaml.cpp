// The one file that sees the YAML library. It is driven by its parser's events, so anchors, depth and size are refused
// when they are met and nothing is built that would be thrown away.
#include "config/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <fstream>
#include <set>
#include <sstream>

#include "config/node.h"
#include "core/utf8.h"

namespace prentice {

namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
constexpr size_t kMaxDepth = 32;
constexpr size_t kKeyDepth = 2;  // of a recipe: sections, and the keys in them
constexpr size_t kMaxNodes = 20000;
constexpr int kMaxOpenBrackets = 500;

class Builder : public YAML::EventHandler {
 public:
  Builder(const std::string& file, bool keep_duplicates) : file_(file), keep_duplicates_(keep_duplicates) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add(Node::null(position(mark)));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail_at(position(mark), "aliases (*name) are not allowed", "write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    add(Node::scalar(value, tag == "!", position(mark)));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::list({}, position(mark)), mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::map({}, position(mark)), mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  Node take() { return std::move(root_); }

 private:
  struct Frame {
    Node node;
    bool has_key = false;
    std::string key;
    Position key_position;
    std::set<std::string> keys;
  };

  Position position(const YAML::Mark& mark) const { return {file_, mark.line + 1, mark.column + 1}; }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) fail_at(position(mark), "anchors (&name) are not allowed", "write the value out");
  }

  // The library reports "?" for plain and "!" for quoted values that carry no tag.
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    fail_at(position(mark), "tags (!name) are not allowed", "a value is parsed by the key it is for");
  }

  void open(Node node, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (frames_.size() == kMaxDepth) fail_at(position(mark), fmt::format("nesting is deeper than {}", kMaxDepth));
    if (!frames_.empty() && frames_.back().node.is_map() && !frames_.back().has_key) refuse_key(node);
    frames_.push_back({std::move(node)});
  }

  void close() {
    Node done = std::move(frames_.back().node);
    frames_.pop_back();
    add(std::move(done));
  }

  [[noreturn]] void refuse_key(const Node& node) const {
    fail_at(node.position(), "expected a word as key, got " + node.described());
  }

  void add(Node node) {
    if (++count_ > kMaxNodes) fail_at(node.position(), fmt::format("more than {} values", kMaxNodes));
    if (frames_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.is_list()) {
      frame.node.items().push_back(std::move(node));
    } else if (!frame.has_key) {
      if (!node.is_scalar()) refuse_key(node);
      if (!node.quoted() && node.text() == "<<") {
        fail_at(node.position(), "merge keys (<<) are not allowed", "`extends: base.yaml` lays a recipe over another");
      }
      const bool may_stay = keep_duplicates_ && frames_.size() <= kKeyDepth;
      if (!frame.keys.insert(node.text()).second && !may_stay) fail_duplicate(frame, node);
      frame.has_key = true, frame.key = node.text(), frame.key_position = node.position();
    } else {
      if (node.is_null()) node = Node::null(frame.key_position);  // an absent value stands nowhere
      frame.node.members().push_back({std::move(frame.key), std::move(frame.key_position), std::move(node)});
      frame.has_key = false;
    }
  }

  [[noreturn]] void fail_duplicate(const Frame& frame, const Node& key) const {
    for (const auto& member : frame.node.members()) {
      if (member.key != key.text()) continue;
      fail_at(key.position(),
              fmt::format("key `{}` is there twice, first on line {}", key.text(), member.position.line));
    }
    fail_at(key.position(), fmt::format("key `{}` is there twice", key.text()));
  }

  const std::string& file_;
  bool keep_duplicates_;
  std::vector<Frame> frames_;
  Node root_;
  size_t count_ = 0;
};

// The library's words, in ours.
std::pair<std::string, std::string> reworded(const std::string& message) {
  using namespace YAML::ErrorMsg;
  const auto is = [&](const char* known) { return message == known; };
  if (is(END_OF_MAP) || is(END_OF_SEQ)) {
    return {"this line fits neither the map nor the list around it", "check the indentation and the `:` after the key"};
  }
  if (is(MAP_VALUE)) return {"a `:` is not allowed here", "put text that holds `: ` in quotes"};
  if (is(MAP_KEY)) return {"a key is not allowed here", "check the indentation"};
  if (is(BLOCK_ENTRY)) return {"a `-` item is not allowed here", "start the list on its own line, indented alike"};
  if (is(END_OF_MAP_FLOW)) return {"this `{` is never closed by `}`", ""};
  if (is(END_OF_SEQ_FLOW)) return {"this `[` is never closed by `]`", ""};
  if (is(FLOW_END)) return {"a `]` or `}` that nothing opened", ""};
  if (is(EOF_IN_SCALAR) || is(DOC_IN_SCALAR)) return {"a quote that was opened before is never closed", ""};
  if (message.rfind(INVALID_ESCAPE, 0) == 0 || message.rfind("bad character", 0) == 0) {
    return {"an escape in double quotes that YAML does not know", "use single quotes, or write \\\\ for a backslash"};
  }
  if (is(INVALID_SCALAR) || is(CHAR_IN_BLOCK)) return {"a value may not start with this character", "put it in quotes"};
  if (is(UNKNOWN_TOKEN)) return {"a character that starts no YAML value", "put the text in quotes"};
  if (is(UNKNOWN_ANCHOR)) return {"aliases (*name) are not allowed", "write the value out"};
  if (is(CHAR_IN_ANCHOR) || is(CHAR_IN_ALIAS) || is(ANCHOR_NOT_FOUND) || is(ALIAS_NOT_FOUND)) {
    return {"anchors and aliases (&name, *name) are not allowed", "write the value out, or quote the text"};
  }
  return {"this is not valid YAML", "check quotes and indentation around this place"};
}

bool has_tab_indent(std::string_view text, int line) {
  size_t at = 0;
  for (; line > 0 && at != text.npos; --line)
    at = text.find('\n', at) == text.npos ? text.npos : text.find('\n', at) + 1;
  while (at < text.size() && text[at] == ' ') ++at;
  return at < text.size() && text[at] == '\t';
}

Position position_of(std::string_view text, size_t offset, const std::string& file) {
  Position position{file, 1, 1};
  for (size_t i = 0; i < offset; ++i) {
    if (text[i] == '\n') {
      ++position.line, position.column = 1;
    } else {
      ++position.column;
    }
  }
  return position;
}

void check_bytes(std::string_view text, const std::string& file) {
  if (text.size() > kMaxBytes) fail_at({file}, fmt::format("{} bytes, more than 1 MiB", text.size()));
  if (const size_t nul = text.find('\0'); nul != text.npos) fail_at(position_of(text, nul, file), "a NUL byte");
  if (const size_t bad = first_bad_utf8(text); bad != text.npos) {
    fail_at(position_of(text, bad, file), "bytes that are not UTF-8", "save the file as UTF-8");
  }
  // Brackets are what the library reads ahead of its events; text with that many unclosed ones is no recipe.
  int open = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[' || text[i] == '{') {
      if (++open > kMaxOpenBrackets) fail_at(position_of(text, i, file), "brackets are opened and never closed");
    } else if ((text[i] == ']' || text[i] == '}') && open > 0) {
      --open;
    }
  }
}

Node parse(std::string_view text, const std::string& file, bool keep_duplicates) {
  check_bytes(text, file);
  // The end marker makes the library see a quote that is never closed.
  std::istringstream stream{std::string(text) + "\n...\n"};
  Builder builder(file, keep_duplicates);
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return Node::null({file, 1, 1});
    Node root = builder.take();
    Builder second(file, keep_duplicates);
    if (parser.HandleNextDocument(second)) {
      fail_at(second.take().position(), "a second YAML document", "one file holds one document");
    }
    return root;
  } catch (const YAML::Exception& error) {
    if (has_tab_indent(text, error.mark.line)) {
      fail_at({file, error.mark.line + 1, 1}, "a tab in the indentation", "indent with spaces");
    }
    const auto [message, hint] = reworded(error.msg);
    fail_at({file, error.mark.line + 1, error.mark.column + 1}, message, hint);
  }
}

std::string text_of(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) fail_at({path.string()}, "no such file");
  if (!std::filesystem::is_regular_file(status)) fail_at({path.string()}, "not a file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail_at({path.string()}, "cannot be read");
  std::string text(kMaxBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  return text;
}

}  // namespace

Node parse_yaml(std::string_view text, const std::string& file) { return parse(text, file, /*keep_duplicates=*/false); }

Node parse_yaml_file(const std::filesystem::path& path) { return parse_yaml(text_of(path), path.string()); }

Node parse_recipe_file(const std::filesystem::path& path) {
  return parse(text_of(path), path.string(), /*keep_duplicates=*/true);
}

}  // namespace prentice

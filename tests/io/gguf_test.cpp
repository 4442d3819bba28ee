#include "io/gguf.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "io/half.h"
#include "io/scratch.h"

namespace prentice {
namespace {

using namespace std::string_literals;

// Builds files byte by byte, so that every rule can be broken.
class Bytes {
 public:
  template <class T>
  Bytes& number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& raw(const std::string& text) {
    text_ += text;
    return *this;
  }
  Bytes& string(const std::string& text) { return number<uint64_t>(text.size()).raw(text); }
  Bytes& head(int64_t tensors, int64_t keys, uint32_t version = 3) {
    return raw("GGUF").number(version).number(tensors).number(keys);
  }
  Bytes& tensor(const std::string& name, std::vector<int64_t> dims, uint32_t type, uint64_t offset) {
    string(name).number<uint32_t>(dims.size());
    for (const auto size : dims) number(size);
    return number(type).number(offset);
  }
  Bytes& pad(size_t alignment = 32) {
    text_.append((alignment - text_.size() % alignment) % alignment, '\0');
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string message(const std::string& file) {
  ExitCode code = ExitCode::model;
  const auto text = message_of([&] { parse_gguf(as_bytes(file), "f"); }, &code);
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_TRUE(text.empty() || text.starts_with("f: ")) << text;
  return text;
}

void expect_mixed(const GgufReader& file) {
  EXPECT_EQ(file.get<std::string>("general.architecture"), "llama");
  EXPECT_EQ(file.get<uint32_t>("test.u32"), 7u);
  EXPECT_EQ(file.get<int32_t>("test.i32"), -7);
  EXPECT_EQ(file.get<uint64_t>("test.u64"), uint64_t{1} << 40);
  EXPECT_EQ(file.get<float>("test.f32"), 0.1f);
  EXPECT_EQ(file.get<double>("test.f64"), 0.1);
  EXPECT_EQ(file.get<bool>("test.bool"), true);
  EXPECT_EQ(file.get<std::string>("test.string"), "größe");
  EXPECT_EQ(file.get<GgufArray>("test.strings").strings(), (std::vector<std::string_view>{"a", "", "über"}));
  EXPECT_EQ(file.get<GgufArray>("test.integers").integers(), (std::vector<int32_t>{1, -2, 3}));
  EXPECT_EQ(file.get<GgufArray>("test.floats").floats(), (std::vector<float>{0.5f, -1.5f}));
  ASSERT_EQ(file.tensors().size(), 3u);
  const auto* f32 = file.find_tensor("f32");
  EXPECT_EQ(f32->dims, (std::vector<int64_t>{3, 2}));
  float first = 0;
  std::memcpy(&first, f32->bytes.data(), 4);
  EXPECT_EQ(first, -0.5f);
  const auto* q8 = file.find_tensor("q8");
  EXPECT_EQ(q8->type, GgmlType::Q8_0);
  EXPECT_EQ(q8->bytes.size(), 2u * 34);
}

TEST(Gguf, ReadsWhatThePythonPackageWrites) {
  const auto file = GgufReader::open("tests/golden/io/mixed.gguf");
  expect_mixed(file);
  EXPECT_TRUE(contains(message_of([&] { file.get<int32_t>("test.u32"); }), "key test.u32 has an unexpected type, u32"));
  EXPECT_TRUE(contains(message_of([&] { file.get<int32_t>("none"); }), "key none is missing"));
  EXPECT_TRUE(contains(message_of([&] { file.get<GgufArray>("test.floats").strings(); }),
                       "expected an array of string, got one of f32"));
}

// The package's own bytes are the expected ones.
TEST(Gguf, WritesTheBytesThePythonPackageWrites) {
  const Scratch scratch;
  const auto original = GgufReader::open("tests/golden/io/mixed.gguf");
  GgufWriter writer(scratch / "copy.gguf", original.metadata(), {original.tensors().begin(), original.tensors().end()});
  for (const auto& tensor : original.tensors()) {
    writer.write(tensor.name, tensor.bytes.first(3));
    writer.write(tensor.name, tensor.bytes.subspan(3));
  }
  writer.finish();
  EXPECT_EQ(read_text_file(scratch / "copy.gguf"), read_text_file("tests/golden/io/mixed.gguf"));
}

TEST(Gguf, ArraysMadeHereReadBack) {
  const Scratch scratch;
  const std::vector<int32_t> integers = {1, -2};
  const std::vector<float> floats = {0.5f};
  GgufWriter writer(scratch / "a.gguf",
                    {{"s", gguf_array(std::vector<std::string>{"x", "", "yz"})},
                     {"i", gguf_array(integers)},
                     {"f", gguf_array(floats)},
                     {"none", gguf_array(std::vector<std::string>{})}},
                    {});
  writer.finish();
  const auto file = GgufReader::open(scratch / "a.gguf");
  EXPECT_EQ(file.get<GgufArray>("s").strings(), (std::vector<std::string_view>{"x", "", "yz"}));
  EXPECT_EQ(file.get<GgufArray>("i").integers(), integers);
  EXPECT_EQ(file.get<GgufArray>("f").floats(), floats);
  EXPECT_TRUE(file.get<GgufArray>("none").strings().empty());
}

TEST(Gguf, TheWriterHoldsToItsDeclaration) {
  const Scratch scratch;
  GgufWriter writer(scratch / "a", {}, {{"a", GgmlType::F32, {2}}, {"b", GgmlType::F32, {1}}});
  EXPECT_TRUE(contains(message_of([&] { writer.write("b", as_bytes("1234")); }), "not the next one declared"));
  EXPECT_TRUE(contains(message_of([&] { writer.write("a", as_bytes("123456789")); }), "more than its 8 bytes"));
  EXPECT_TRUE(contains(message_of([&] { writer.finish(); }), "tensor a is incomplete"));
  const std::vector<GgufEntry> twice = {{"k", true}, {"k", true}};
  EXPECT_TRUE(contains(message_of([&] { GgufWriter(scratch / "b", twice, {}); }), "written twice"));
  EXPECT_FALSE(std::filesystem::exists(scratch / "b"));
}

TEST(Gguf, RealVocabularyFilesAreRead) {
  const char* data = std::getenv("PRENTICE_TEST_DATA");
  const std::filesystem::path folder =
      std::filesystem::path(data ? data : "../shared/data") / "tokenizers/llamacpp_vocab";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no test data at " << folder;
  const auto gpt2 = GgufReader::open(folder / "ggml-vocab-gpt-2.gguf");
  EXPECT_EQ(gpt2.get<GgufArray>("tokenizer.ggml.tokens").count, 50257u);
  EXPECT_EQ(gpt2.get<GgufArray>("tokenizer.ggml.merges").strings().front(), "Ġ t");
}

TEST(Gguf, RefusesBrokenHeadsAndKeys) {
  const auto key = [](const std::function<void(Bytes&)>& value) {
    Bytes bytes;
    bytes.head(0, 1).string("k");
    value(bytes);
    return bytes.text();
  };
  const std::pair<std::string, std::string> cases[] = {
      {"", "the magic needs 4 bytes, 0 are left"},
      {"GGML\3\0\0\0"s, "not a GGUF file"},
      {Bytes().head(0, 0, 1).text(), "GGUF version 1, versions 2 and 3 are read"},
      {Bytes().head(0, 0, 4).text(), "GGUF version 4"},
      {Bytes().head(0, 0, 0x03000000).text(), "big-endian"},
      {Bytes().head(-1, 0).text(), "number of tensors: -1"},
      {Bytes().head(int64_t{1} << 40, 0).text(), "number of tensors: 1099511627776"},
      {Bytes().head(0, -1).text(), "number of keys: -1"},
      {Bytes().head(0, 1 << 20).text(), "number of keys: 1048576"},
      {Bytes().head(0, 1).text(), "key needs 8 bytes, 0 are left"},
      {Bytes().head(0, 1).string("").text(), "key 0 is empty"},
      {Bytes().head(0, 1).number(~uint64_t{0}).text(), "key has 18446744073709551615 bytes"},
      {Bytes().head(0, 1).number(uint64_t{1} << 29).text(), "key needs 536870912 bytes, 0 are left"},
      {Bytes().head(0, 2).string("k").number(4).number(1).string("k").number(4).number(1).text(), "key k occurs twice"},
      {key([](Bytes& b) { b.number(13); }), "key k: value: unknown type 13"},
      {key([](Bytes& b) { b.number(4).raw("12"); }), "key k: value needs 4 bytes, 2 are left"},
      {key([](Bytes& b) { b.number(7).raw("\2"); }), "key k: a bool holds 2"},
      {key([](Bytes& b) { b.number(8).number(uint64_t{100}).raw("x"); }), "key k: value needs 100 bytes, 1 are left"},
      {key([](Bytes& b) { b.number(9).number(9).number(uint64_t{0}); }), "key k: an array of arrays"},
      {key([](Bytes& b) { b.number(9).number(99).number(uint64_t{0}); }), "key k: array: unknown type 99"},
      {key([](Bytes& b) { b.number(9).number(4).number(uint64_t{1} << 62); }),
       "an array of 4611686018427387904 elements"},
      {key([](Bytes& b) { b.number(9).number(4).number(uint64_t{1} << 30); }),
       "an array of 1073741824 elements does not fit in the 0 bytes left"},
      {key([](Bytes& b) { b.number(9).number(8).number(uint64_t{2}).number(uint64_t{8}).number(uint64_t{0}); }),
       "a string of the array needs 8 bytes, 0 are left"},
      {key([](Bytes& b) { b.number(9).number(7).number(uint64_t{2}).raw("\1\3"); }), "a bool holds 3"},
      {Bytes().head(0, 1).string("general.alignment").number(10).number(uint64_t{32}).text(),
       "general.alignment is not a u32"},
      {Bytes().head(0, 1).string("general.alignment").number(4).number(48).text(), "general.alignment is 48"},
      {Bytes().head(0, 1).string("general.alignment").number(4).number(0).text(), "general.alignment is 0"},
      {Bytes().head(0, 1).string("general.alignment").number(4).number(1 << 21).text(), "general.alignment is 2097152"},
  };
  for (const auto& [file, part] : cases) {
    const auto text = message(file);
    EXPECT_TRUE(contains(text, part)) << part << "\n  got: " << text;
  }
}

TEST(Gguf, RefusesBrokenTensors) {
  const auto one = [](const std::string& name, std::vector<int64_t> dims, uint32_t type, uint64_t offset, size_t data) {
    return Bytes().head(1, 0).tensor(name, std::move(dims), type, offset).pad().raw(std::string(data, 'x')).text();
  };
  const auto two = [](uint64_t second, size_t data) {
    return Bytes()
        .head(2, 0)
        .tensor("a", {2}, 0, 0)
        .tensor("b", {2}, 0, second)
        .pad()
        .raw(std::string(data, 'x'))
        .text();
  };
  EXPECT_EQ(message(one("a", {2, 2}, 0, 0, 16)), "");
  EXPECT_EQ(message(one("a", {}, 0, 0, 4)), "");
  EXPECT_EQ(message(two(32, 40)), "");
  const std::pair<std::string, std::string> cases[] = {
      {Bytes().head(1, 0).text(), "tensor name needs 8 bytes"},
      {one("", {1}, 0, 0, 32), "a tensor name has 0 bytes"},
      {one(std::string(64, 'n'), {1}, 0, 0, 32), "a tensor name has 64 bytes"},
      {one("a", {1, 1, 1, 1, 1}, 0, 0, 32), "tensor a: 5 dimensions"},
      {one("a", {-1}, 0, 0, 32), "tensor a: negative dimension -1"},
      {one("a", {int64_t{1} << 40, int64_t{1} << 40}, 0, 0, 32), "tensor a: more than 2^48 - 1 elements"},
      {one("a", {int64_t{1} << 32, int64_t{1} << 32}, 0, 0, 32), "tensor a: more than 2^48 - 1 elements"},
      {one("a", {1}, 4, 0, 32), "unknown or removed type 4"},
      {one("a", {1}, 31, 0, 32), "unknown or removed type 31"},
      {one("a", {1}, 99, 0, 32), "unknown or removed type 99"},
      {one("a", {33}, 8, 0, 64), "a row of 33 elements is no whole number of Q8_0 blocks"},
      {one("a", {1}, 0, 8, 64), "its data is at offset 8, expected 0"},
      {one("a", {4}, 0, 0, 15), "its data ends at byte 16, the file has 15 bytes of data"},
      {two(8, 64), "tensor b: its data is at offset 8, expected 32"},
      {two(0, 64), "tensor b: its data is at offset 0, expected 32"},
      {two(~uint64_t{31}, 64), "tensor b: its data is at offset 18446744073709551584, expected 32"},
      {two(32, 32), "tensor b: its data ends at byte 40, the file has 32"},
      {Bytes().head(2, 0).tensor("a", {2}, 0, 0).tensor("a", {2}, 0, 32).pad().raw(std::string(64, 'x')).text(),
       "tensor a occurs twice"},
      {Bytes().head(1, 0).tensor("abc", {2}, 0, 0).text(), "the padding before the data needs"},
  };
  for (const auto& [file, part] : cases) {
    const auto text = message(file);
    EXPECT_TRUE(contains(text, part)) << part << "\n  got: " << text;
  }
}

TEST(Gguf, EveryTruncationIsDetected) {
  const auto whole = read_text_file("tests/golden/io/mixed.gguf");
  EXPECT_EQ(message(whole), "");
  const size_t padding_of_last = 32 - 68 % 32;  // two Q8_0 blocks; a reader may do without the final padding
  for (size_t length = 0; length < whole.size() - padding_of_last; ++length) {
    EXPECT_NE(message(whole.substr(0, length)), "") << length;
  }
}

// Everything that a file says, as bytes.
std::string said(const GgufContent& content) {
  Bytes all;
  for (const auto& [key, value] : content.metadata) {
    all.string(key).number(value.index());
    std::visit(
        [&]<class T>(const T& held) {
          if constexpr (std::is_same_v<T, std::string>) {
            all.string(held);
          } else if constexpr (std::is_same_v<T, GgufArray>) {
            const auto bytes = held.bytes();
            all.number(held.type).number(held.count);
            all.string({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
          } else {
            all.number(held);
          }
        },
        value);
  }
  for (const auto& tensor : content.tensors) {
    all.tensor(tensor.name, tensor.dims, static_cast<uint32_t>(tensor.type), 0);
    all.string({reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()});
  }
  return all.text();
}

// Offsets, counts and types are where a flipped byte hurts: whatever it hits, the reader refuses, or what it reads is
// another content. Only the padding before and behind the tensors' data says nothing, and version 2 is laid out as 3.
TEST(Gguf, NoSingleByteChangeEscapesTheReader) {
  const auto whole = read_text_file("tests/golden/io/mixed.gguf");
  const GgufContent original = parse_gguf(as_bytes(whole), "f");
  const auto place_of = [&](const std::byte* byte) {
    return static_cast<size_t>(byte - reinterpret_cast<const std::byte*>(whole.data()));
  };
  const auto is_padding = [&](size_t at) {
    const bool behind_infos = at + 32 > place_of(original.tensors.front().bytes.data());
    return whole[at] == 0 && behind_infos && std::ranges::none_of(original.tensors, [&](const auto& tensor) {
             const size_t begin = place_of(tensor.bytes.data());
             return at >= begin && at < begin + tensor.bytes.size();
           });
  };
  const std::string expected = said(original);
  size_t accepted = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const unsigned char flip : {0x01, 0x80, 0xff}) {
      auto changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      if (!message(changed).empty()) continue;
      ++accepted;
      const bool is_version_2 = at == 4 && changed[at] == 2;
      if (!is_version_2 && !is_padding(at)) {
        EXPECT_NE(said(parse_gguf(as_bytes(changed), "f")), expected) << at;
      }
    }
  }
  EXPECT_GT(accepted, 0U);
}

}  // namespace
}  // namespace prentice

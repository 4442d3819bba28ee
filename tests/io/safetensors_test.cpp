#include "io/safetensors.h"

#include <cstring>
#include <fstream>

#include "io/half.h"
#include "io/json.h"
#include "io/scratch.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

std::string one(const std::string& entry, size_t data_bytes = 4) {
  return file_of("{\"a\":" + entry + "}", std::string(data_bytes, 'x'));
}

std::string message(const std::string& file) {
  ExitCode code = ExitCode::model;
  const auto text = message_of([&] { parse_safetensors(as_bytes(file), "f"); }, &code);
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_TRUE(text.empty() || text.starts_with("f: ")) << text;
  return text;
}

TEST(Safetensors, ReadsWhatTheReferenceWrites) {
  const auto file = SafetensorsFile::open("tests/golden/io/mixed.safetensors");
  EXPECT_EQ(file.tensors().size(), 7u);
  EXPECT_EQ(file.metadata().at("note"), "größe \"x\"");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const auto* name : {"f32", "bf16", "f16"}) {
    const auto* tensor = file.find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->shape, (std::vector<int64_t>{2, 3}));
    for (int i = 0; i < 6; ++i) {
      float value = 0;
      uint16_t half = 0;
      if (tensor->dtype == DType::f32) std::memcpy(&value, tensor->bytes.data() + 4 * i, 4);
      if (tensor->dtype != DType::f32) std::memcpy(&half, tensor->bytes.data() + 2 * i, 2);
      if (tensor->dtype == DType::f16) value = f16_to_f32(half);
      if (tensor->dtype == DType::bf16) value = bf16_to_f32(half);
      EXPECT_EQ(value, static_cast<float>(i) / 4 - 0.5f) << name;
    }
  }
  EXPECT_EQ(file.find("empty")->bytes.size(), 0u);
  EXPECT_EQ(file.find("scalar")->shape.size(), 0u);
  EXPECT_EQ(file.find("scalar")->bytes[0], std::byte{7});
  EXPECT_EQ(file.find("bool")->dtype, DType::boolean);
  EXPECT_EQ(file.find("none"), nullptr);
}

TEST(Safetensors, WhatIsWrittenReadsBack) {
  const Scratch scratch;
  const float values[] = {1, 2, 3, 4};
  SafetensorsWriter writer(scratch / "a.safetensors",
                           {{"w", DType::f32, {2, 2}}, {"none", DType::f32, {0, 3}}, {"b", DType::u8, {3}}},
                           {{"step", "7"}});
  const auto bytes = std::as_bytes(std::span(values));
  writer.write("w", bytes.first(5));
  writer.write("w", bytes.subspan(5));
  writer.write("none", {});
  writer.write("b", as_bytes("xyz"));
  writer.finish();
  const auto file = SafetensorsFile::open(scratch / "a.safetensors");
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"step", "7"}}));
  EXPECT_EQ(std::memcmp(file.find("w")->bytes.data(), values, 16), 0);
  EXPECT_EQ(file.find("none")->shape, (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(file.find("b")->bytes.size(), 3u);
  const auto whole = read_text_file(scratch / "a.safetensors");
  EXPECT_EQ(whole[8], '{');
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  EXPECT_EQ(header % 8, 0u);
}

TEST(Safetensors, TheWriterHoldsToItsDeclaration) {
  const Scratch scratch;
  const std::vector<TensorInfo> declared = {{"a", DType::u8, {2}}, {"b", DType::u8, {2}}};
  SafetensorsWriter writer(scratch / "x", declared);
  EXPECT_TRUE(contains(message_of([&] { writer.write("b", as_bytes("12")); }), "not the next one declared"));
  EXPECT_TRUE(contains(message_of([&] { writer.write("a", as_bytes("123")); }), "more than its 2 bytes"));
  writer.write("a", as_bytes("1"));
  EXPECT_TRUE(contains(message_of([&] { writer.finish(); }), "tensor a is incomplete"));
}

TEST(Safetensors, AcceptsWhatTheReferenceAccepts) {
  const std::string accepted[] = {
      one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
      one(R"({"dtype":"F32","shape":[],"data_offsets":[0,4]})"),
      one(R"({"dtype":"F4","shape":[8],"data_offsets":[0,4]})"),
      one(R"({"dtype":"F32","shape":[2,0],"data_offsets":[0,0]})", 0),
      file_of(" \n{} \t", ""),
      file_of(R"({"__metadata__":{"a":"b"}})", ""),
      file_of(
          R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "xy"),
      file_of(
          R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"z":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
          "xy"),
  };
  for (const auto& file : accepted) EXPECT_EQ(message(file), "") << file.substr(8);
}

TEST(Safetensors, RefusesEveryBrokenRule) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "0 bytes, the header needs 8"},
      {"1234567", "7 bytes, the header needs 8"},
      {"\xff\xff\xff\xff\xff\xff\xff\xff{}"s, "a header of 18446744073709551615 bytes"},
      {std::string("\x09\0\0\0\0\0\0\0{}", 10), "the header needs 9 bytes, the file has 2"},
      {file_of("", ""), "invalid JSON"},
      {file_of("[]", ""), "expected an object, got list"},
      {file_of("{}x", ""), "invalid JSON"},
      {file_of("{}\0"s, ""), "NUL byte"},
      {file_of("{}", "x"), "the tensors take 0 bytes, the file has 1"},
      {one("[]"), "tensor a: expected an object"},
      {one(R"({"shape":[1],"data_offsets":[0,4]})"), "tensor a: \"dtype\" is missing"},
      {one(R"({"dtype":"F33","shape":[1],"data_offsets":[0,4]})"), "unknown dtype \"F33\""},
      {one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), "expected an integer, got number"},
      {one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), "a size of the shape is negative"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})"), "data_offsets has 3 numbers"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), "need 4 bytes, data_offsets say [4, 0]"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})"), "an offset is negative"},
      {one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), "need 8 bytes, data_offsets say [0, 4]"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1})"), "unknown key \"x\""},
      {one(R"({"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]})"), "duplicate key \"shape\""},
      {one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), "more than 2^48 - 1"},
      {one(R"({"dtype":"F32","shape":[281474976710656],"data_offsets":[0,0]})"), "more than 2^48 - 1"},
      {one(R"({"dtype":"F32","shape":[9223372036854775807,3],"data_offsets":[0,0]})"), "more than 2^48 - 1"},
      {one(R"({"dtype":"F4","shape":[7],"data_offsets":[0,4]})"), "do not fill whole bytes"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 3), "take 4 bytes, the file has 3"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 5), "take 4 bytes, the file has 5"},
      {one(R"({"dtype":"F32","shape":[1],"data_offsets":[1,5]})", 5),
       "begins at byte 1 of the data, expected 0 (there is a hole)"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "xyz"),
       "tensor b: begins at byte 1 of the data, expected 2 (it overlaps another tensor)"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "xy"),
       "duplicate key \"a\""},
      {file_of(R"({"__metadata__":{"a":1}})", ""), "__metadata__: expected a string, got integer"},
      {file_of(R"({"__metadata__":[]})", ""), "__metadata__: expected an object"},
      {file_of("{\"a\":" + std::string(50, '[') + std::string(50, ']') + "}", ""), "nested deeper"},
      {file_of("{\"a\":\"\xff\"}", ""), "invalid JSON"},
      {file_of("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", ""), "holds a NUL"},
  };
  for (const auto& [file, part] : cases) {
    const auto text = message(file);
    EXPECT_TRUE(contains(text, part)) << part << "\n  got: " << text;
  }
}

TEST(Safetensors, EveryTruncationIsDetected) {
  const auto whole = read_text_file("tests/golden/io/mixed.safetensors");
  EXPECT_EQ(message(whole), "");
  for (size_t length = 0; length < whole.size(); ++length) EXPECT_NE(message(whole.substr(0, length)), "") << length;
}

// Whatever a flipped byte of the header hits, the reader answers or refuses; a length or an offset never passes.
TEST(Safetensors, NoSingleByteChangeEscapesTheReader) {
  const auto whole = read_text_file("tests/golden/io/mixed.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  for (size_t at = 0; at < 8 + header; ++at) {
    for (const unsigned char flip : {0x01, 0x02, 0x08, 0x80, 0xff}) {
      auto changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      const auto text = message(changed);
      const bool is_length = at < 8, is_digit = at >= 8 && std::isdigit(static_cast<unsigned char>(whole[at]));
      if (is_length && flip != 0) EXPECT_NE(text, "") << at;
      if (is_digit && whole.find("data_offsets", at - 20) < at)
        EXPECT_NE(text, "") << at << " " << changed.substr(at - 20, 40);
    }
  }
}

TEST(Safetensors, AHeaderOfBracketsClaimsLittleMemory) {
  std::string header = "{\"a\":[";
  for (int i = 0; i < 2'000'000; ++i) header += "0,";
  EXPECT_TRUE(contains(message(file_of(header + "0]}", "")), "more than 1000000 values"));
}

void write_shard(const fs::path& path, const std::vector<std::string>& names) {
  std::vector<TensorInfo> tensors;
  for (const auto& name : names) tensors.push_back({name, DType::u8, {1}});
  SafetensorsWriter writer(path, tensors);
  for (const auto& name : names) writer.write(name, as_bytes(name.substr(0, 1)));
  writer.finish();
}

TEST(WeightFolder, ReadsShardsAndLinksOutOfAHuggingFaceCache) {
  const Scratch scratch;
  fs::create_directories(scratch / "blobs");
  fs::create_directories(scratch / "snapshots/x");
  write_shard(scratch / "blobs/1", {"a", "b"});
  write_shard(scratch / "blobs/2", {"c"});
  fs::create_symlink("../../blobs/1", scratch / "snapshots/x/model-1.safetensors");
  fs::create_symlink("../../blobs/2", scratch / "snapshots/x/model-2.safetensors");
  write_file_durably(
      scratch / "snapshots/x/model.safetensors.index.json",
      R"({"metadata":{"total_size":3},"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors"}})");
  auto opened = WeightFolder::open(scratch / "snapshots/x");
  const auto weights = std::move(opened);
  ASSERT_EQ(weights.tensors().size(), 3u);
  EXPECT_EQ(weights.find("c")->bytes[0], std::byte{'c'});
  EXPECT_EQ(weights.find("d"), nullptr);
  EXPECT_EQ(weights.total_bytes(), 3u);
}

TEST(WeightFolder, RefusesWhatDoesNotAgree) {
  struct Case {
    std::string weight_map, message;
    ExitCode code;
  };
  const Case cases[] = {
      {R"({"a":"s1"})", "holds tensor b, which the index does not list here", ExitCode::model},
      {R"({"a":"s1","b":"s1","c":"s1"})", "lacks tensor c, which the index lists here", ExitCode::model},
      {R"({"a":"s1","b":"s1","c":"s2"})", "names s2, which is missing", ExitCode::model},
      {R"({"a":"../s1"})", "\"../s1\" is not a plain relative file name", ExitCode::model},
      {R"({"a":"/etc/passwd"})", "\"/etc/passwd\" is not a plain relative file name", ExitCode::model},
      {R"({"a":1})", "expected a string, got integer", ExitCode::model},
      {R"({})", "\"weight_map\" is empty", ExitCode::model},
      {R"({"a":"s1","a":"s1"})", "duplicate key", ExitCode::model},
  };
  for (const auto& [weight_map, message, code] : cases) {
    const Scratch scratch;
    write_shard(scratch / "s1", {"a", "b"});
    write_file_durably(scratch / "model.safetensors.index.json", "{\"weight_map\":" + weight_map + "}");
    ExitCode got = ExitCode::ok;
    const auto text = message_of([&] { WeightFolder::open(scratch.path()); }, &got);
    EXPECT_TRUE(contains(text, message)) << message << "\n  got: " << text;
    EXPECT_EQ(got, code) << text;
  }
}

TEST(WeightFolder, PicklesGetAConversionHint) {
  const Scratch scratch;
  ExitCode code = ExitCode::ok;
  std::string hint;
  EXPECT_TRUE(contains(message_of([&] { WeightFolder::open(scratch / "none"); }, &code), "none: does not exist"));
  EXPECT_EQ(code, ExitCode::usage);
  EXPECT_TRUE(contains(message_of([&] { WeightFolder::open(scratch.path()); }, &code),
                       "has no model.safetensors and no model.safetensors.index.json"));
  EXPECT_EQ(code, ExitCode::usage);
  write_file_durably(scratch / "tokenizer.bin", "x");
  EXPECT_FALSE(contains(message_of([&] { WeightFolder::open(scratch.path()); }), "pickle"));
  write_file_durably(scratch / "pytorch_model.bin", "x");
  EXPECT_TRUE(
      contains(message_of([&] { WeightFolder::open(scratch.path()); }, &code, &hint), "pytorch_model.bin is a pickle"));
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_TRUE(contains(hint, "safe_serialization=True"));
}

TEST(ShardPlan, SplitsAsTransformersDoes) {
  const std::vector<TensorInfo> tensors = {{"a", DType::u8, {6}},
                                           {"b", DType::u8, {4}},
                                           {"c", DType::u8, {1}},
                                           {"d", DType::u8, {30}},
                                           {"e", DType::u8, {2}}};
  const auto plan = plan_shards(tensors, 10);
  EXPECT_EQ(plan.files,
            (std::vector<std::string>{"model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                                      "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors"}));
  EXPECT_EQ(plan.tensors, (std::vector<std::vector<size_t>>{{0, 1}, {2}, {3}, {4}}));
  EXPECT_EQ(plan.total_bytes, 43u);
  const auto index = Json::parse(shard_index_json(plan, tensors));
  EXPECT_EQ(index.at("metadata").at("total_size").as_integer(), 43);
  EXPECT_EQ(index.at("weight_map").at("d").as_string(), "model-00003-of-00004.safetensors");
  EXPECT_EQ(plan_shards(tensors).files, std::vector<std::string>{"model.safetensors"});
  EXPECT_EQ(plan_shards({}).files.size(), 1u);
}

}  // namespace
}  // namespace prentice

#include "io/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "io/byte_cursor.h"

namespace prentice {

namespace {

constexpr uint64_t kMaxCount = uint64_t{1} << 30;  // elements of an array, bytes of a string
constexpr int64_t kMaxEntries = int64_t{1} << 16;
constexpr int64_t kMaxTensors = int64_t{1} << 16;
constexpr uint32_t kDefaultAlignment = 32, kMaxAlignment = 1 << 20;
constexpr size_t kMaxTensorName = 64;  // one is ggml's terminating NUL

std::string_view text_at(ByteCursor& cursor, const char* what) {
  const auto length = cursor.number<uint64_t>(what);
  if (length > kMaxCount) fail(ExitCode::malformed, std::string(what) + " has " + std::to_string(length) + " bytes");
  return cursor.text(length, what);
}

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies");

uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    default:
      return 8;
  }
}

GgufType read_type(ByteCursor& cursor, const char* what) {
  const auto id = cursor.number<uint32_t>(what);
  if (id >= std::variant_size_v<GgufValue>) {
    fail(ExitCode::malformed, std::string(what) + ": unknown type " + std::to_string(id));
  }
  return static_cast<GgufType>(id);
}

bool read_bool(ByteCursor& cursor) {
  const auto byte = cursor.number<uint8_t>("a bool");
  if (byte > 1) fail(ExitCode::malformed, "a bool holds " + std::to_string(byte));
  return byte == 1;
}

GgufArray read_array(ByteCursor& cursor) {
  GgufArray array{.type = read_type(cursor, "array")};
  if (array.type == GgufType::array) fail(ExitCode::malformed, "an array of arrays");
  array.count = cursor.number<uint64_t>("array");
  const uint64_t smallest = array.type == GgufType::string ? 8 : scalar_bytes(array.type);
  if (array.count > kMaxCount || array.count > cursor.left() / smallest) {
    fail(ExitCode::malformed, "an array of " + std::to_string(array.count) + " elements does not fit in the " +
                                  std::to_string(cursor.left()) + " bytes left");
  }
  if (array.type != GgufType::string) {
    array.view = cursor.take(array.count * smallest, "array");
    if (array.type == GgufType::boolean) {
      for (ByteCursor values(array.view); values.left() > 0;) read_bool(values);
    }
    return array;
  }
  ByteCursor strings = cursor;
  for (uint64_t i = 0; i < array.count; ++i) text_at(strings, "a string of the array");
  array.view = cursor.take(strings.offset() - cursor.offset(), "array");
  return array;
}

GgufValue read_value(ByteCursor& cursor, GgufType type) {
  switch (type) {
    case GgufType::u8:
      return cursor.number<uint8_t>("value");
    case GgufType::i8:
      return cursor.number<int8_t>("value");
    case GgufType::u16:
      return cursor.number<uint16_t>("value");
    case GgufType::i16:
      return cursor.number<int16_t>("value");
    case GgufType::u32:
      return cursor.number<uint32_t>("value");
    case GgufType::i32:
      return cursor.number<int32_t>("value");
    case GgufType::f32:
      return cursor.number<float>("value");
    case GgufType::boolean:
      return read_bool(cursor);
    case GgufType::string:
      return std::string(text_at(cursor, "value"));
    case GgufType::array:
      return read_array(cursor);
    case GgufType::u64:
      return cursor.number<uint64_t>("value");
    case GgufType::i64:
      return cursor.number<int64_t>("value");
    case GgufType::f64:
      return cursor.number<double>("value");
  }
  fail(ExitCode::internal, "unhandled GGUF type");
}

int64_t read_count(ByteCursor& cursor, const char* what, int64_t limit) {
  const auto count = cursor.number<int64_t>(what);
  if (count < 0 || count > limit) {
    fail(ExitCode::malformed,
         std::string(what) + ": " + std::to_string(count) + ", expected 0 to " + std::to_string(limit));
  }
  return count;
}

// What a part of the file costs in memory is a few times its bytes there: names are looked at where they lie.
void refuse_twice(std::vector<std::string_view> names, const char* what) {
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) fail(ExitCode::malformed, fmt::format("{} {} occurs twice", what, twice->substr(0, 200)));
}

std::vector<GgufEntry> read_metadata(ByteCursor& cursor, int64_t count) {
  std::vector<GgufEntry> metadata;
  std::vector<std::string_view> names;
  for (int64_t i = 0; i < count; ++i) {
    const auto key = text_at(cursor, "key");
    if (key.empty()) fail(ExitCode::malformed, "key " + std::to_string(i) + " is empty");
    if (key.size() > 65535) fail(ExitCode::malformed, "key " + std::to_string(i) + " is longer than 65,535 bytes");
    names.push_back(key);
    metadata.push_back(
        {std::string(key), with_context(ExitCode::malformed, "key " + std::string(key.substr(0, 200)),
                                        [&] { return read_value(cursor, read_type(cursor, "value")); })});
  }
  refuse_twice(std::move(names), "key");
  return metadata;
}

uint32_t read_alignment(const std::vector<GgufEntry>& metadata) {
  const auto found = std::ranges::find(metadata, "general.alignment", &GgufEntry::key);
  if (found == metadata.end()) return kDefaultAlignment;
  const auto* alignment = std::get_if<uint32_t>(&found->value);
  if (alignment == nullptr) fail(ExitCode::malformed, "general.alignment is not a u32");
  if (!std::has_single_bit(*alignment) || *alignment > kMaxAlignment) {
    fail(ExitCode::malformed,
         "general.alignment is " + std::to_string(*alignment) + ", expected a power of two up to 1048576");
  }
  return *alignment;
}

// The tensor without its bytes, and where its data is to begin.
std::pair<GgufTensorView, uint64_t> read_tensor_info(ByteCursor& cursor) {
  GgufTensorView tensor;
  uint64_t offset = 0;
  const auto name = text_at(cursor, "tensor name");
  if (name.empty() || name.size() >= kMaxTensorName) {
    fail(ExitCode::malformed, "a tensor name has " + std::to_string(name.size()) + " bytes, 1 to 63 are allowed");
  }
  tensor.name = name;
  with_context(ExitCode::malformed, "tensor " + tensor.name, [&] {
    const auto dimensions = cursor.number<uint32_t>("dimensions");
    if (dimensions > 4) {
      fail(ExitCode::malformed, std::to_string(dimensions) + " dimensions, at most 4 are allowed");
    }
    tensor.dims.reserve(dimensions);
    for (uint32_t i = 0; i < dimensions; ++i) tensor.dims.push_back(cursor.number<int64_t>("dimensions"));
    const auto id = cursor.number<uint32_t>("type");
    const auto* type = find_ggml_type(id);
    if (type == nullptr) fail(ExitCode::malformed, "unknown or removed type " + std::to_string(id));
    tensor.type = type->type;
    offset = cursor.number<uint64_t>("offset");
  });
  return {std::move(tensor), offset};
}

uint64_t padded(uint64_t bytes, uint64_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

// Offsets must be the running sum of padded sizes, and the data must be there.
void place(std::vector<GgufTensorView>& tensors, const std::vector<uint64_t>& offsets, std::span<const std::byte> data,
           uint64_t alignment) {
  uint64_t expected = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    GgufTensorView& tensor = tensors[i];
    const uint64_t offset = offsets[i];
    with_context(ExitCode::malformed, "tensor " + tensor.name, [&] {
      const uint64_t bytes = gguf_tensor_bytes(tensor);
      if (offset != expected) {
        fail(ExitCode::malformed,
             "its data is at offset " + std::to_string(offset) + ", expected " + std::to_string(expected));
      }
      if (offset > data.size() || bytes > data.size() - offset) {
        fail(ExitCode::malformed,
             "its data ends at byte " + std::to_string(offset + bytes) + ", the file has " +
                 std::to_string(data.size()) + " bytes of data",
             "the file may be truncated: copy or download it again");
      }
      tensor.bytes = data.subspan(offset, bytes);
      expected = offset + padded(bytes, alignment);
    });
  }
}

void check_header(ByteCursor& cursor) {
  const auto magic = cursor.take(4, "the magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) fail(ExitCode::malformed, "not a GGUF file");
  const auto version = cursor.number<uint32_t>("the version");
  if (version == 3 || version == 2) return;  // version 2 has the same layout
  if (version > 0xffff) fail(ExitCode::malformed, "a big-endian GGUF file; only little-endian ones are read");
  fail(ExitCode::malformed, "GGUF version " + std::to_string(version) + ", versions 2 and 3 are read",
       "convert the model again with a current llama.cpp");
}

GgufContent parse(std::span<const std::byte> bytes) {
  ByteCursor cursor(bytes);
  check_header(cursor);
  const auto tensor_count = read_count(cursor, "number of tensors", kMaxTensors);
  const auto entry_count = read_count(cursor, "number of keys", kMaxEntries);
  GgufContent content{.metadata = read_metadata(cursor, entry_count)};
  const uint64_t alignment = read_alignment(content.metadata);
  std::vector<uint64_t> offsets;
  for (int64_t i = 0; i < tensor_count; ++i) {
    auto [tensor, offset] = read_tensor_info(cursor);
    content.tensors.push_back(std::move(tensor));
    offsets.push_back(offset);
  }
  std::vector<std::string_view> names;
  for (const auto& tensor : content.tensors) names.push_back(tensor.name);
  refuse_twice(std::move(names), "tensor");
  if (tensor_count > 0) {
    cursor.take(padded(cursor.offset(), alignment) - cursor.offset(), "the padding before the data");
    place(content.tensors, offsets, bytes.subspan(cursor.offset()), alignment);
  }
  return content;
}

}  // namespace

GgufContent parse_gguf(std::span<const std::byte> bytes, const std::string& origin) {
  return with_context(ExitCode::model, origin, [&] { return parse(bytes); });
}

bool is_gguf_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  if (path.extension() == ".gguf") return true;
  std::array<char, 4> magic = {};
  InputFile file(path);
  return file.read(std::as_writable_bytes(std::span(magic))) == 4 && std::string_view(magic.data(), 4) == "GGUF";
}

GgufReader GgufReader::open(const std::filesystem::path& path) {
  GgufReader reader(MappedFile::open(path));
  auto content = parse_gguf(reader.file_.bytes(), path.string());
  reader.metadata_ = std::move(content.metadata);
  reader.tensors_ = std::move(content.tensors);
  for (size_t i = 0; i < reader.tensors_.size(); ++i) reader.tensor_index_.emplace(reader.tensors_[i].name, i);
  return reader;
}

const GgufValue* GgufReader::find(std::string_view key) const {
  const auto found = std::ranges::find(metadata_, key, &GgufEntry::key);
  if (found == metadata_.end()) return nullptr;
  looked_for_.insert(found->key);
  return &found->value;
}

std::vector<std::string> GgufReader::unread(std::string_view prefix) const {
  std::vector<std::string> keys;
  for (const auto& entry : metadata_) {
    if (entry.key.starts_with(prefix) && !looked_for_.contains(entry.key)) keys.push_back(entry.key);
  }
  return keys;
}

const GgufTensorView* GgufReader::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

void GgufReader::fail_type(std::string_view key, const GgufValue& value) const {
  fail(ExitCode::model, path().string() + ": key " + std::string(key) + " has an unexpected type, " +
                            std::string(gguf_type_name(static_cast<GgufType>(value.index()))));
}

}  // namespace prentice

// HDF5 files of fixed-size chunked tables: the only place that knows the library. Every return code becomes an Error,
// a flush reaches the disk, and nothing in a file can make the reader leave it (links, plug-ins, other layouts).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace prentice {

enum class Hdf5Scalar { u8, u16, u32, u64, f32 };  // little-endian in the file and in memory

// A one-dimensional dataset: `elements` records in chunks of `chunk_elements` (which divides it), each chunk with a
// Fletcher-32 checksum. One field without a name is a plain number, several are a packed compound.
struct Hdf5Table {
  struct Field {
    std::string name;
    Hdf5Scalar type;
  };
  std::string name;
  std::vector<Field> fields;
  uint64_t elements = 0, chunk_elements = 0;

  size_t element_bytes() const;
  size_t chunk_bytes() const { return element_bytes() * chunk_elements; }
};

// One open file. Safe to use from several threads: the library is entered by one at a time.
class Hdf5File {
 public:
  enum class Access { read, read_write };

  // Makes an empty file in the earliest format, without times, so that equal contents are equal bytes. It must not
  // exist. `chunks`: of its largest table; the indexes are no larger than these need. Errors of everything that writes:
  // `storage`.
  static Hdf5File create(const std::filesystem::path& path, uint64_t chunks);
  // Errors: `usage` when missing, `malformed` when it is no HDF5 file.
  static Hdf5File open(const std::filesystem::path& path, Access access);
  Hdf5File(Hdf5File&& other) noexcept;
  Hdf5File& operator=(Hdf5File&&) = delete;
  ~Hdf5File();  // closes; what close() would have reported is lost

  // The full extent, filled with zeros and allocated now: later writes change bytes in place and never move anything.
  void make_table(const Hdf5Table& table);
  // Errors: `malformed`, unless the file holds exactly this table: its own (no link elsewhere), of this type, extent
  // and chunks, with the checksum and no other filter.
  void open_table(const Hdf5Table& table);
  // Whole chunks of a table made or opened here; `bytes` has chunk_bytes(). A read verifies the checksum (`malformed`).
  void write_chunk(const std::string& table, uint64_t chunk, std::span<const std::byte> bytes);
  void read_chunk(const std::string& table, uint64_t chunk, std::span<std::byte> bytes) const;

  // Attributes of the root group. A number is made once and then changed in place. Errors of the readers: `malformed`.
  void put_number(const std::string& name, uint64_t value);
  uint64_t number(const std::string& name) const;
  void put_text(const std::string& name, const std::string& text);
  std::string text(const std::string& name) const;

  void sync();   // flush, then fsync: the library's own flush reaches the page cache only
  void close();  // sync and close; the object is empty afterwards

 private:
  struct Opened {
    Hdf5Table table;
    int64_t dataset, memory_type;
  };
  Hdf5File(std::filesystem::path path, int64_t file) : path_(std::move(path)), file_(file) {}
  const Opened& opened(const std::string& table) const;

  std::filesystem::path path_;
  int64_t file_ = -1;
  std::map<std::string, Opened> tables_;
};

}  // namespace prentice

#include "io/hdf5.h"

#include <fmt/format.h>
#include <hdf5.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "io/file.h"
#include "io/publish.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

static_assert(sizeof(hid_t) == sizeof(int64_t));

constexpr uint64_t kMaxHalfNode = 32;  // the library's own choice

// The library has one global state, and Debian's serial build need not be the thread-safe one. Each entry also puts
// back what a thread starts with: errors printed to stderr.
class Entered {
 public:
  Entered() : lock_(mutex_) {
    static const bool prepared = [] {
      H5dont_atexit();            // after a full disk its exit handler would write once more
      H5PLset_loading_state(0u);  // filters come from the library alone, never from a folder of plug-ins
      return true;
    }();
    static_cast<void>(prepared);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5Eclear2(H5E_DEFAULT);
  }

 private:
  static inline std::mutex mutex_;
  std::lock_guard<std::mutex> lock_;
};

// A library id that is closed by its own kind of close.
class Id {
 public:
  Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Id(const Id&) = delete;
  ~Id() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  hid_t release() { return std::exchange(id_, -1); }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

herr_t keep_innermost(unsigned, const H5E_error2_t* error, void* text) {
  auto& kept = *static_cast<std::string*>(text);
  if (kept.empty() && error->desc != nullptr) kept = error->desc;
  return 0;
}

// The innermost message of the library; where it quotes the system, the system's words alone.
std::string reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  const std::string quote = "error message = '";
  const size_t start = text.find(quote);
  if (start == text.npos) return text.empty() ? "the HDF5 library gives no reason" : text.substr(0, 160);
  const size_t end = text.find('\'', start + quote.size());
  return text.substr(start + quote.size(), end - start - quote.size());
}

[[noreturn]] void fail_write(const std::string& action, const fs::path& path) {
  const std::string why = reason();
  const bool full = why == std::strerror(ENOSPC) || why == std::strerror(EDQUOT);
  fail(ExitCode::storage, fmt::format("{}: cannot {}: {}", path.string(), action, why),
       full ? "free some space there, then run the same command again: it continues" : "");
}

[[noreturn]] void fail_read(const std::string& what, const std::string& hint = "") {
  fail(ExitCode::malformed, what + ": " + reason(), hint);
}

// Calls that fail only by a mistake in this file.
void must(herr_t status, const char* what) {
  if (status < 0) fail(ExitCode::internal, fmt::format("HDF5: {}: {}", what, reason()));
}

hid_t scalar_type(Hdf5Scalar scalar) {
  switch (scalar) {
    case Hdf5Scalar::u8:
      return H5T_STD_U8LE;
    case Hdf5Scalar::u16:
      return H5T_STD_U16LE;
    case Hdf5Scalar::u32:
      return H5T_STD_U32LE;
    case Hdf5Scalar::u64:
      return H5T_STD_U64LE;
    case Hdf5Scalar::f32:
      return H5T_IEEE_F32LE;
  }
  return -1;
}

size_t scalar_bytes(Hdf5Scalar scalar) {
  switch (scalar) {
    case Hdf5Scalar::u8:
      return 1;
    case Hdf5Scalar::u16:
      return 2;
    case Hdf5Scalar::u64:
      return 8;
    default:
      return 4;
  }
}

hid_t element_type(const Hdf5Table& table) {
  if (table.fields.size() == 1 && table.fields[0].name.empty()) return H5Tcopy(scalar_type(table.fields[0].type));
  const hid_t type = H5Tcreate(H5T_COMPOUND, table.element_bytes());
  size_t offset = 0;
  for (const auto& field : table.fields) {
    must(H5Tinsert(type, field.name.c_str(), offset, scalar_type(field.type)), "a field");
    offset += scalar_bytes(field.type);
  }
  return type;
}

// No cache of chunks: each whole chunk passes straight between our memory and the file.
hid_t uncached_access() {
  const hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
  must(H5Pset_chunk_cache(access, 0, 0, 1.0), "Pset_chunk_cache");
  return access;
}

hid_t file_access() {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  must(H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18), "Pset_libver_bounds");
  must(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG), "Pset_fclose_degree");
  // A file system without locks must not keep the file shut: whoever needs a lock takes one of their own.
  must(H5Pset_file_locking(access, 1, 1), "Pset_file_locking");
  return access;
}

void require_plain_layout(const std::string& name, hid_t dataset, const Hdf5Table& wanted) {
  const auto refuse = [&](const std::string& what) { fail(ExitCode::malformed, fmt::format("{}: {}", name, what)); };
  const Id type(H5Dget_type(dataset), H5Tclose), expected(element_type(wanted), H5Tclose);
  if (type < 0 || H5Tequal(type, expected) <= 0) refuse("another type of elements than the layout has");
  const Id space(H5Dget_space(dataset), H5Sclose);
  hsize_t extent = 0, limit = 0, chunk = 0;
  if (space < 0 || H5Sget_simple_extent_ndims(space) != 1) refuse("expected one dimension");
  if (H5Sget_simple_extent_dims(space, &extent, &limit) != 1 || extent != wanted.elements)
    refuse(fmt::format("expected {} elements, found {}", wanted.elements, extent));
  if (limit != extent) refuse("its extent can grow");
  const Id made(H5Dget_create_plist(dataset), H5Pclose);
  if (made < 0 || H5Pget_layout(made) != H5D_CHUNKED || H5Pget_chunk(made, 1, &chunk) != 1 ||
      chunk != wanted.chunk_elements)
    refuse(fmt::format("expected chunks of {} elements, found {}", wanted.chunk_elements, chunk));
  unsigned flags = 0, filter_config = 0;
  size_t values = 0;
  if (H5Pget_external_count(made) != 0) refuse("its data lies in another file");
  if (H5Pget_nfilters(made) != 1 ||
      H5Pget_filter2(made, 0, &flags, &values, nullptr, 0, nullptr, &filter_config) != H5Z_FILTER_FLETCHER32)
    refuse("expected the Fletcher-32 checksum as the only filter");
}

hid_t select_chunk(const Hdf5Table& table, uint64_t chunk) {
  const hsize_t extent = table.elements, start = chunk * table.chunk_elements, count = table.chunk_elements;
  const hid_t space = H5Screate_simple(1, &extent, nullptr);
  must(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, nullptr, &count, nullptr), "Sselect_hyperslab");
  return space;
}

void require_chunk(const Hdf5Table& table, uint64_t chunk, size_t bytes) {
  if (chunk < table.elements / table.chunk_elements && bytes == table.chunk_bytes()) return;
  fail(ExitCode::internal, fmt::format("{}: chunk {} with {} bytes was asked for", table.name, chunk, bytes));
}

}  // namespace

size_t Hdf5Table::element_bytes() const {
  size_t bytes = 0;
  for (const auto& field : fields) bytes += scalar_bytes(field.type);
  return bytes;
}

Hdf5File Hdf5File::create(const fs::path& path, uint64_t chunks) {
  const Entered entered;
  const Id how(H5Pcreate(H5P_FILE_CREATE), H5Pclose), access(file_access(), H5Pclose);
  must(H5Pset_obj_track_times(how, false), "Pset_obj_track_times");
  // Nodes hold twice as many. At the library's own sizes a file of two tables with a chunk each has 6 kB beside them,
  // so it has 2.
  const auto half = static_cast<unsigned>(std::clamp<uint64_t>((chunks + 1) / 2, 1, kMaxHalfNode));
  must(H5Pset_istore_k(how, half), "Pset_istore_k");
  must(H5Pset_sym_k(how, 1, 1), "Pset_sym_k");
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_EXCL, how, access);
  if (file < 0) fail_write("create", path);
  return {path, file};
}

Hdf5File Hdf5File::open(const fs::path& path, Access access) {
  { const InputFile there(path); }  // a missing file is told apart, a FIFO is never opened
  const Entered entered;
  const Id how(file_access(), H5Pclose);
  const hid_t file = H5Fopen(path.c_str(), access == Access::read ? H5F_ACC_RDONLY : H5F_ACC_RDWR, how);
  if (file < 0) fail_read(path.string() + ": not a readable HDF5 file");
  return {path, file};
}

Hdf5File::Hdf5File(Hdf5File&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)), tables_(std::move(other.tables_)) {}

Hdf5File::~Hdf5File() {
  if (file_ < 0) return;
  const Entered entered;
  for (const auto& [name, table] : tables_) {
    H5Dclose(table.dataset);
    H5Tclose(table.memory_type);
  }
  H5Fclose(file_);
}

void Hdf5File::make_table(const Hdf5Table& table) {
  const Entered entered;
  const hsize_t extent = table.elements, chunk = table.chunk_elements;
  const Id space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const Id how(H5Pcreate(H5P_DATASET_CREATE), H5Pclose), access(uncached_access(), H5Pclose);
  Id type(element_type(table), H5Tclose);
  must(H5Pset_obj_track_times(how, false), "Pset_obj_track_times");
  must(H5Pset_chunk(how, 1, &chunk), "Pset_chunk");
  must(H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY), "Pset_alloc_time");
  must(H5Pset_fill_time(how, H5D_FILL_TIME_ALLOC), "Pset_fill_time");
  must(H5Pset_fletcher32(how), "Pset_fletcher32");
  const hid_t dataset = H5Dcreate2(file_, table.name.c_str(), type, space, H5P_DEFAULT, how, access);
  if (dataset < 0) fail_write("make " + table.name, path_);
  tables_.emplace(table.name, Opened{table, dataset, type.release()});
}

void Hdf5File::open_table(const Hdf5Table& table) {
  const Entered entered;
  const std::string name = path_.string() + ": " + table.name;
  H5L_info_t link;
  if (H5Lget_info(file_, table.name.c_str(), &link, H5P_DEFAULT) < 0) fail_read(name + " is missing");
  if (link.type != H5L_TYPE_HARD) fail(ExitCode::malformed, name + ": a link to somewhere else is not followed");
  const Id access(uncached_access(), H5Pclose);
  Id dataset(H5Dopen2(file_, table.name.c_str(), access), H5Dclose);
  if (dataset < 0) fail_read(name);
  require_plain_layout(name, dataset, table);
  // Chunks that are declared and not stored read as zeros, and would take memory that no file stands for.
  if (table.elements > fs::file_size(path_) / table.element_bytes())
    fail(ExitCode::malformed, fmt::format("{}: {} elements are more than the file holds", name, table.elements));
  tables_.emplace(table.name, Opened{table, dataset.release(), element_type(table)});
}

const Hdf5File::Opened& Hdf5File::opened(const std::string& table) const {
  const auto found = tables_.find(table);
  if (found == tables_.end()) fail(ExitCode::internal, path_.string() + ": " + table + " was not opened");
  return found->second;
}

void Hdf5File::write_chunk(const std::string& table, uint64_t chunk, std::span<const std::byte> bytes) {
  const Entered entered;
  const Opened& to = opened(table);
  require_chunk(to.table, chunk, bytes.size());
  const hsize_t count = to.table.chunk_elements;
  const Id memory(H5Screate_simple(1, &count, nullptr), H5Sclose), file(select_chunk(to.table, chunk), H5Sclose);
  if (H5Dwrite(to.dataset, to.memory_type, memory, file, H5P_DEFAULT, bytes.data()) < 0)
    fail_write("write " + table, path_);
}

void Hdf5File::read_chunk(const std::string& table, uint64_t chunk, std::span<std::byte> bytes) const {
  const Entered entered;
  const Opened& from = opened(table);
  require_chunk(from.table, chunk, bytes.size());
  const hsize_t count = from.table.chunk_elements;
  const Id memory(H5Screate_simple(1, &count, nullptr), H5Sclose), file(select_chunk(from.table, chunk), H5Sclose);
  if (H5Dread(from.dataset, from.memory_type, memory, file, H5P_DEFAULT, bytes.data()) < 0)
    fail_read(fmt::format("{}: chunk {} of {} cannot be read", path_.string(), chunk, table),
              "the file was changed or damaged since it was written: fetch it again, or delete the store and run "
              "`prentice teach` again");
}

void Hdf5File::put_number(const std::string& name, uint64_t value) {
  const Entered entered;
  const Id space(H5Screate(H5S_SCALAR), H5Sclose);
  const bool there = H5Aexists(file_, name.c_str()) > 0;
  const Id attribute(there ? H5Aopen(file_, name.c_str(), H5P_DEFAULT)
                           : H5Acreate2(file_, name.c_str(), H5T_STD_U64LE, space, H5P_DEFAULT, H5P_DEFAULT),
                     H5Aclose);
  if (attribute < 0 || H5Awrite(attribute, H5T_NATIVE_UINT64, &value) < 0) fail_write("write " + name, path_);
}

uint64_t Hdf5File::number(const std::string& name) const {
  const Entered entered;
  const std::string what = path_.string() + ": " + name;
  const Id attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), H5Aclose);
  if (attribute < 0) fail(ExitCode::malformed, what + " is missing");
  const Id type(H5Aget_type(attribute), H5Tclose), space(H5Aget_space(attribute), H5Sclose);
  if (H5Tequal(type, H5T_STD_U64LE) <= 0 || H5Sget_simple_extent_npoints(space) != 1)
    fail(ExitCode::malformed, what + ": expected one u64");
  uint64_t value = 0;
  if (H5Aread(attribute, H5T_NATIVE_UINT64, &value) < 0) fail_read(what);
  return value;
}

void Hdf5File::put_text(const std::string& name, const std::string& text) {
  const Entered entered;
  const Id space(H5Screate(H5S_SCALAR), H5Sclose), type(H5Tcopy(H5T_C_S1), H5Tclose);
  must(H5Tset_size(type, std::max<size_t>(text.size(), 1)), "Tset_size");
  must(H5Tset_strpad(type, H5T_STR_NULLPAD), "Tset_strpad");
  must(H5Tset_cset(type, H5T_CSET_UTF8), "Tset_cset");
  const Id attribute(H5Acreate2(file_, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (attribute < 0 || H5Awrite(attribute, type, text.c_str()) < 0) fail_write("write " + name, path_);
}

std::string Hdf5File::text(const std::string& name) const {
  const Entered entered;
  const std::string what = path_.string() + ": " + name;
  const Id attribute(H5Aopen(file_, name.c_str(), H5P_DEFAULT), H5Aclose);
  if (attribute < 0) fail(ExitCode::malformed, what + " is missing");
  const Id type(H5Aget_type(attribute), H5Tclose), space(H5Aget_space(attribute), H5Sclose);
  const size_t size = H5Tget_size(type);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || size > (1u << 16) ||
      H5Sget_simple_extent_npoints(space) != 1)
    fail(ExitCode::malformed, what + ": expected one text of fixed length");
  std::string value(size, '\0');
  if (H5Aread(attribute, type, value.data()) < 0) fail_read(what);
  return value.substr(0, value.find('\0'));
}

void Hdf5File::sync() {
  const Entered entered;
  void* handle = nullptr;
  if (H5Fflush(file_, H5F_SCOPE_LOCAL) < 0) fail_write("flush", path_);
  if (H5Fget_vfd_handle(file_, H5P_DEFAULT, &handle) < 0) fail_write("sync", path_);
  if (::fsync(*static_cast<int*>(handle)) != 0) fail_system("sync", path_, errno);
}

void Hdf5File::close() {
  sync();
  const Entered entered;
  for (const auto& [name, table] : std::exchange(tables_, {})) {
    if (H5Dclose(table.dataset) < 0) fail_write("close " + name, path_);
    must(H5Tclose(table.memory_type), "Tclose");
  }
  if (H5Fclose(std::exchange(file_, -1)) < 0) fail_write("close", path_);
  fsync_file(path_);  // closing writes the end of the file into its head
}

}  // namespace prentice

#include "io/sha256.h"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "io/file.h"

namespace prentice {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1) {
    fail(ExitCode::internal, "OpenSSL offers no SHA-256");
  }
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) fail(ExitCode::internal, "SHA-256 failed");
}

void Sha256::update(std::string_view text) { update(as_bytes(text)); }

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  if (EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) != 1) fail(ExitCode::internal, "SHA-256 failed");
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_hex(std::string_view text) { return sha256_hex(as_bytes(text)); }

std::string sha256_file(const std::filesystem::path& path) {
  InputFile file(path);
  Sha256 hash;
  std::vector<std::byte> buffer(size_t{1} << 20);
  while (const size_t count = file.read(buffer)) hash.update(std::span(buffer).first(count));
  return hash.hex();
}

namespace {

// What must stay equal for a remembered hash to hold; empty when the file cannot be asked.
std::string identity_of(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";
  std::string text;
  for (const auto number :
       {static_cast<int64_t>(status.st_dev), static_cast<int64_t>(status.st_ino), static_cast<int64_t>(status.st_size),
        static_cast<int64_t>(status.st_mtim.tv_sec), static_cast<int64_t>(status.st_mtim.tv_nsec),
        static_cast<int64_t>(status.st_ctim.tv_sec), static_cast<int64_t>(status.st_ctim.tv_nsec)}) {
    text += ' ';
    text += std::to_string(number);
  }
  // Too fresh: the clock of the file system may be too coarse to show a second change.
  const auto changed = std::max(status.st_mtim.tv_sec, status.st_ctim.tv_sec);
  return std::time(nullptr) - changed > 2 ? text : "";
}

// Best effort: a cache that cannot be written costs only time.
void remember(const std::filesystem::path& entry, const std::string& text) {
  std::error_code ignored;
  std::filesystem::create_directories(entry.parent_path(), ignored);
  const std::filesystem::path temporary = entry.string() + "." + std::to_string(::getpid());
  std::ofstream(temporary, std::ios::binary) << text;
  std::filesystem::rename(temporary, entry, ignored);
}

}  // namespace

std::string cached_sha256_file(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const auto identity = identity_of(path);
  if (folder.empty() || identity.empty()) return sha256_file(path);
  const auto entry = folder / sha256_hex(identity).substr(0, 32);
  std::ifstream cached(entry, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(cached), std::istreambuf_iterator<char>()};
  // The identity stands in the entry too, so that a torn or foreign one is never believed.
  if (text.size() == 64 + identity.size() && text.ends_with(identity)) return text.substr(0, 64);
  const auto hash = sha256_file(path);
  if (identity_of(path) == identity) remember(entry, hash + identity);
  return hash;
}

std::string cached_sha256_file(const std::filesystem::path& path) {
  return cached_sha256_file(path, default_hash_cache());
}

std::filesystem::path default_hash_cache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return std::filesystem::path(cache) / "prentice" / "sha256";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return std::filesystem::path(home) / ".cache" / "prentice" / "sha256";
  }
  return {};
}

}  // namespace prentice

// The hub's side of a download: which server and token, what a repository holds, what one file is called and hashes to,
// and what the server's refusals mean. Knows no cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hub/transfer.h"

namespace prentice {

// How the work tells what it waits for, and how it learns that it should end.
struct HubCallbacks {
  std::function<void(const std::string&)> note;  // "the connection failed: ...; attempt 2 of 5 in 1 s"
  std::function<bool()> stopped;                 // asked within libcurl, where nothing may be thrown
  std::function<void()> leave;                   // throws what ends the work; called once `stopped` was true
};

// A revision of a repository: its commit (40 digits) and the names of its files.
struct HubListing {
  std::string commit;
  std::vector<std::string> files;
};

// One file of a commit. `hash` is the SHA-256 of a large file (64 digits), or of a small one the SHA-1 that git gives
// its blob (40 digits); it names the file in the cache.
struct HubFile {
  std::string name, hash;
  uint64_t bytes = 0;
};

class Hub {
 public:
  // HF_ENDPOINT (default https://huggingface.co), HF_TOKEN or the token file in HF_HOME, HF_HUB_DOWNLOAD_TIMEOUT.
  // Errors: `usage` when HF_HUB_OFFLINE is set or a variable makes no sense.
  explicit Hub(HubCallbacks callbacks);

  // Errors (both): `usage` when the repository, the revision or the file does not exist or may not be read; `storage`
  // when the server cannot be reached or fails; `model` when its answer makes no sense.
  HubListing list(const std::string& name, const std::string& revision);
  HubFile facts(const std::string& name, const std::string& commit, const std::string& file);

  // One attempt at the bytes of a file from `from` on. The reply may be a failure or an error status.
  HttpReply fetch(const std::string& name, const std::string& commit, const std::string& file, uint64_t from,
                  const HttpClient::Receiver& receive);

  // Waits before attempt `attempt` + 1 after a failure that may pass, or throws what `reply` means: at once for one
  // that stays, and after the last attempt.
  void wait_or_fail(const HttpReply& reply, int attempt, const std::string& name);

  void leave_if_stopped() const;
  void note(const std::string& text) const;
  const std::string& endpoint() const { return endpoint_; }

 private:
  template <class Request>
  HttpReply insist(const std::string& name, Request&& request);  // until there is an answer that is no failure
  [[noreturn]] void fail_reply(const HttpReply& reply, const std::string& name) const;
  [[noreturn]] void fail_status(const HttpReply& reply, const std::string& name) const;

  HubCallbacks callbacks_;
  std::string endpoint_;
  bool has_token_;
  HttpClient client_;
};

}  // namespace prentice

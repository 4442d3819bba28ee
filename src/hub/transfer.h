// HTTP as the program needs it: one answer to one request, with the reason when there is none. The only file that sees
// libcurl; what a hub's answers mean is hub/remote.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace prentice {

struct HttpReply {
  enum class Failure {
    none,         // there is a whole answer, whatever its status says
    connection,   // no answer, or a part of one: another attempt may do better
    certificate,  // the server is not who it should be
    request,      // the address cannot be asked at all
    sink,         // the receiver wants no more
    stopped       // the user stopped it
  };
  Failure failure = Failure::none;
  std::string reason;                                       // of a failure, in libcurl's words
  long status = 0;                                          // of the last answer; 0 = none came
  std::map<std::string, std::string, std::less<>> headers;  // lower-case names; of redirects too, later ones win
  std::string body;                                         // of text(); of an answer that is no success its first 4 kB
  std::string url;                                          // that gave the last answer

  bool ok() const { return failure == Failure::none && (status == 200 || status == 206); }
  std::string header(std::string_view name) const;  // "" when absent
};

struct HttpSettings {
  std::string origin;             // the server that `token` is for: no other one sees it
  std::string token;              // "" = none
  long stall_seconds = 10;        // without a byte, the connection counts as lost
  bool direct = false;            // neither through a proxy nor to where the server sends one
  std::function<bool()> stopped;  // asked while a transfer waits
};

// The part of a URL that names the server: scheme, host and port.
std::string_view origin_of(std::string_view url);

class HttpClient {
 public:
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();

  // The facts of a file: follows redirects that stay at the server and stops at one that leaves it.
  HttpReply head(const std::string& url);
  // A text of at most `max_bytes`; a longer one is Failure::sink.
  HttpReply text(const std::string& url, size_t max_bytes);
  // The same in answer to a JSON text; within `seconds`, after which it is Failure::connection.
  HttpReply post(const std::string& url, const std::string& json, size_t max_bytes, long seconds);
  // Bytes from offset `from` on, in order, to `receive`, which sees status and headers of the answer and returns
  // whether it wants more. It must not throw. A server may answer 200 with the whole file although a part was asked
  // for.
  using Receiver = std::function<bool(const HttpReply&, std::span<const std::byte>)>;
  HttpReply bytes(const std::string& url, uint64_t from, const Receiver& receive);

 private:
  struct Exchange;
  struct Question {
    bool head = false;
    uint64_t from = 0;
    const std::string* json = nullptr;  // what is posted
    long seconds = 0;                   // for the whole of it; 0 = as long as bytes come
  };
  HttpReply request(std::string url, const Question&, const Receiver& receive);
  HttpReply read_text(const std::string& url, const Question&, size_t max_bytes);
  void prepare(const std::string& url, const Question&, Exchange& exchange);
  HttpSettings settings_;
  void* handle_;  // kept between requests, and with it the connection
};

}  // namespace prentice

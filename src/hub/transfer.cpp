#include "hub/transfer.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "core/error.h"
#include "core/version.h"

namespace prentice {

namespace {

constexpr int kMaxRedirects = 10;
constexpr size_t kMaxErrorText = 4096;
constexpr long kConnectSeconds = 10;

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

// The certificates to trust: the usual variables, else libcurl's own file, else where other systems keep theirs (a copy
// of the program may run on another system than the one it was built on).
std::string certificate_file() {
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    if (const char* file = std::getenv(name); file && *file) return file;
  }
  std::error_code error;
  const char* own = curl_version_info(CURLVERSION_NOW)->cainfo;
  if (own && std::filesystem::exists(own, error)) return own;
  for (const char* file : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    if (std::filesystem::exists(file, error)) return file;
  }
  return "";
}

HttpReply::Failure failure_of(CURLcode code) {
  using Failure = HttpReply::Failure;
  switch (code) {
    case CURLE_OK:
      return Failure::none;
    case CURLE_WRITE_ERROR:
      return Failure::sink;
    case CURLE_ABORTED_BY_CALLBACK:
      return Failure::stopped;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      return Failure::certificate;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Failure::request;
    default:
      return Failure::connection;
  }
}

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool is_http(std::string_view url) { return url.starts_with("http://") || url.starts_with("https://"); }

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

}  // namespace

std::string HttpReply::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string_view origin_of(std::string_view url) {
  const size_t host = url.find("://");
  return host == url.npos ? url : url.substr(0, url.find_first_of("/?#", host + 3));
}

// What libcurl's callbacks share while one request runs.
struct HttpClient::Exchange {
  HttpReply reply;
  const Receiver& receive;
  const std::function<bool()>& stopped;
  CURL* handle;
  char reason[CURL_ERROR_SIZE] = "";
  std::unique_ptr<curl_slist, FreeList> sent_headers;

  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    const std::string_view line(data, size * count);
    if (const size_t colon = line.find(':'); colon != line.npos) {
      exchange.reply.headers[lower(line.substr(0, colon))] = trimmed(line.substr(colon + 1));
    }
    return size * count;
  }

  static size_t on_body(char* data, size_t size, size_t count, void* self) {
    auto& exchange = *static_cast<Exchange*>(self);
    curl_easy_getinfo(exchange.handle, CURLINFO_RESPONSE_CODE, &exchange.reply.status);
    const std::string_view bytes(data, size * count);
    if (exchange.reply.ok()) {
      return exchange.receive(exchange.reply, std::as_bytes(std::span(bytes))) ? bytes.size() : 0;
    }
    exchange.reply.body.append(bytes.substr(0, kMaxErrorText - std::min(kMaxErrorText, exchange.reply.body.size())));
    return bytes.size();
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const auto& stopped = static_cast<Exchange*>(self)->stopped;
    return stopped() ? 1 : 0;
  }
};

HttpClient::HttpClient(HttpSettings settings) : settings_(std::move(settings)), handle_(curl_easy_init()) {
  if (!handle_) fail(ExitCode::internal, "libcurl could not be started");
}

HttpClient::~HttpClient() { curl_easy_cleanup(handle_); }

void HttpClient::prepare(const std::string& url, const Question& asked, Exchange& exchange) {
  CURL* handle = handle_;
  curl_easy_reset(handle);  // options only: the connection stays
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_NOBODY, asked.head ? 1L : 0L);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, exchange.reason);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, (std::string("prentice/") + kVersion).c_str());
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, std::max(settings_.stall_seconds, asked.seconds));
  curl_easy_setopt(handle, CURLOPT_TIMEOUT, asked.seconds);
  if (settings_.direct) curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, 512L * 1024);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &Exchange::on_header);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Exchange::on_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &Exchange::on_progress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &exchange);
  if (const std::string file = certificate_file(); !file.empty()) {
    curl_easy_setopt(handle, CURLOPT_CAINFO, file.c_str());
  }
  if (asked.from > 0) curl_easy_setopt(handle, CURLOPT_RANGE, (std::to_string(asked.from) + "-").c_str());
  const auto send = [&](const std::string& header) {
    curl_slist* const others = exchange.sent_headers.release();
    exchange.sent_headers.reset(curl_slist_append(others, header.c_str()));
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, exchange.sent_headers.get());
  };
  if (!settings_.token.empty() && origin_of(url) == settings_.origin) send("Authorization: Bearer " + settings_.token);
  if (asked.json) {
    send("Content-Type: application/json"), send("Expect:");  // libcurl would wait for leave to send a long one
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, asked.json->c_str());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(asked.json->size()));
  }
}

HttpReply HttpClient::request(std::string url, const Question& asked, const Receiver& receive) {
  Exchange exchange{.receive = receive, .stopped = settings_.stopped, .handle = handle_};
  HttpReply& reply = exchange.reply;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    reply.url = url;
    reply.status = 0;
    reply.body.clear();
    if (!is_http(url)) {
      reply.failure = HttpReply::Failure::request;
      reply.reason = "the address begins neither with https:// nor with http://";
      return reply;
    }
    exchange.sent_headers.reset();
    prepare(url, asked, exchange);
    const CURLcode code = curl_easy_perform(handle_);
    curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &reply.status);
    reply.failure = failure_of(code);
    reply.reason = exchange.reason[0] ? exchange.reason : curl_easy_strerror(code);
    const char* next = nullptr;
    curl_easy_getinfo(handle_, CURLINFO_REDIRECT_URL, &next);
    if (code != CURLE_OK || !is_redirect(reply.status) || !next || settings_.direct) return reply;
    if (asked.head && origin_of(next) != origin_of(url)) return reply;
    if (url.starts_with("https://") && !std::string_view(next).starts_with("https://")) {
      reply.failure = HttpReply::Failure::request;
      reply.reason = std::string("it is redirected to an address that is not protected: ") + next;
      return reply;
    }
    url = next;
  }
  reply.failure = HttpReply::Failure::request;
  reply.reason = "too many redirects";
  return reply;
}

HttpReply HttpClient::head(const std::string& url) {
  return request(url, {.head = true}, [](const HttpReply&, std::span<const std::byte>) { return true; });
}

HttpReply HttpClient::read_text(const std::string& url, const Question& asked, size_t max_bytes) {
  std::string text;
  HttpReply reply = request(url, asked, [&](const HttpReply&, std::span<const std::byte> bytes) {
    if (text.size() + bytes.size() > max_bytes) return false;
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return true;
  });
  if (reply.ok()) reply.body = std::move(text);
  return reply;
}

HttpReply HttpClient::text(const std::string& url, size_t max_bytes) { return read_text(url, {}, max_bytes); }

HttpReply HttpClient::post(const std::string& url, const std::string& json, size_t max_bytes, long seconds) {
  return read_text(url, {.json = &json, .seconds = seconds}, max_bytes);
}

HttpReply HttpClient::bytes(const std::string& url, uint64_t from, const Receiver& receive) {
  return request(url, {.from = from}, receive);
}

}  // namespace prentice

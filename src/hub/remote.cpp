#include "hub/remote.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "hub/cache.h"
#include "hub/environment.h"
#include "io/file.h"
#include "io/json.h"

namespace prentice {

namespace {

constexpr int kAttempts = 5;
constexpr auto kFirstWait = std::chrono::milliseconds(500);
constexpr size_t kMaxListingBytes = size_t{64} << 20;

std::string endpoint_of_environment() {
  std::string offline = environment_variable("HF_HUB_OFFLINE");
  std::transform(offline.begin(), offline.end(), offline.begin(), [](unsigned char c) { return std::toupper(c); });
  if (offline == "1" || offline == "ON" || offline == "YES" || offline == "TRUE") {
    fail(ExitCode::usage, "HF_HUB_OFFLINE is set, so nothing may be fetched", "unset HF_HUB_OFFLINE");
  }
  std::string endpoint = environment_variable("HF_ENDPOINT");
  if (endpoint.empty()) return "https://huggingface.co";
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!endpoint.starts_with("https://") && !endpoint.starts_with("http://")) {
    fail(ExitCode::usage, fmt::format("HF_ENDPOINT: expected an address that begins with https://, got {}", endpoint));
  }
  return endpoint;
}

std::string token_of_environment() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (const std::string token = environment_variable(name); !token.empty()) return token;
  }
  const std::string path = environment_variable("HF_TOKEN_PATH");
  std::ifstream file(path.empty() ? hub_home_folder() / "token" : std::filesystem::path(path));
  std::string token;
  file >> token;
  return token;
}

long stall_seconds_of_environment() {
  constexpr long kDefault = 10;
  const std::string text = environment_variable("HF_HUB_DOWNLOAD_TIMEOUT");
  if (text.empty()) return kDefault;
  const long seconds = std::atol(text.c_str());
  if (seconds < 1) fail(ExitCode::usage, "HF_HUB_DOWNLOAD_TIMEOUT: expected seconds, at least 1, got " + text);
  return seconds;
}

// RFC 3986; `kept` are the characters that stay beside the unreserved ones.
std::string percent_encoded(std::string_view text, std::string_view kept = "") {
  std::string encoded;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) || std::string_view("-._~").find(static_cast<char>(c)) != std::string_view::npos;
    if (plain || kept.find(static_cast<char>(c)) != kept.npos) {
      encoded += static_cast<char>(c);
    } else {
      encoded += fmt::format("%{:02X}", c);
    }
  }
  return encoded;
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// An ETag without the marks around it: W/"abc" is abc.
std::string bare_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

// Passing troubles of a server; another attempt may do better.
bool is_passing(long status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

HttpSettings settings_of(const std::string& endpoint, const HubCallbacks& callbacks) {
  return {.origin = std::string(origin_of(endpoint)),
          .token = token_of_environment(),
          .stall_seconds = stall_seconds_of_environment(),
          .stopped = callbacks.stopped};
}

}  // namespace

Hub::Hub(HubCallbacks callbacks)
    : callbacks_(std::move(callbacks)),
      endpoint_(endpoint_of_environment()),
      has_token_(!token_of_environment().empty()),
      client_(settings_of(endpoint_, callbacks_)) {}

void Hub::note(const std::string& text) const { callbacks_.note(text); }

void Hub::leave_if_stopped() const {
  if (callbacks_.stopped()) callbacks_.leave();
}

void Hub::fail_status(const HttpReply& reply, const std::string& name) const {
  const std::string code = reply.header("x-error-code");
  if (code == "RevisionNotFound") {
    fail(ExitCode::usage, name + ": has no such branch, tag or commit", "without --revision its main branch is taken");
  }
  if (code == "EntryNotFound") fail(ExitCode::storage, fmt::format("{}: {} is gone", name, reply.url));
  if (code == "GatedRepo" || reply.status == 403) {
    fail(ExitCode::usage, fmt::format("{}: access is refused ({})", name, reply.status),
         fmt::format("accept the model's terms at {}/{}, then set HF_TOKEN to a token of that account", endpoint_,
                     name));
  }
  if (reply.status == 401 || reply.status == 404) {
    const std::string hint = has_token_ ? "check the name, and that the token in HF_TOKEN may read it"
                                        : "check the name; a private model needs a token in HF_TOKEN";
    fail(ExitCode::usage, fmt::format("{}: not found at {} ({})", name, endpoint_, reply.status), hint);
  }
  fail(ExitCode::storage, fmt::format("{}: {} answered {}", name, origin_of(reply.url), reply.status),
       is_passing(reply.status) ? "try again later; what has arrived is kept" : "");
}

void Hub::fail_reply(const HttpReply& reply, const std::string& name) const {
  const auto server = origin_of(reply.url);
  switch (reply.failure) {
    case HttpReply::Failure::none:
      fail_status(reply, name);
    case HttpReply::Failure::certificate:
      fail(ExitCode::storage, fmt::format("{}: {} cannot prove who it is: {}", name, server, reply.reason),
           "set SSL_CERT_FILE to the file with your organisation's certificates");
    case HttpReply::Failure::request:
      fail(ExitCode::usage, fmt::format("{}: {}: {}", name, reply.url, reply.reason),
           "HF_ENDPOINT and HTTPS_PROXY say where to ask");
    case HttpReply::Failure::sink:
      fail(ExitCode::model, fmt::format("{}: {}: the answer is not what was asked for", name, reply.url));
    default:
      fail(ExitCode::storage, fmt::format("{}: the connection to {} failed: {}", name, server, reply.reason),
           "the same command continues where it stopped; behind a proxy, set HTTPS_PROXY");
  }
}

void Hub::wait_or_fail(const HttpReply& reply, int attempt, const std::string& name) {
  const bool may_pass = reply.failure == HttpReply::Failure::connection ||
                        (reply.failure == HttpReply::Failure::none && is_passing(reply.status));
  if (!may_pass || attempt >= kAttempts) fail_reply(reply, name);
  auto wait = kFirstWait * (1 << (attempt - 1));
  const int asked = std::atoi(reply.header("retry-after").c_str());
  wait = std::max<std::chrono::milliseconds>(wait, std::chrono::seconds(std::clamp(asked, 0, 60)));
  const std::string why = reply.failure == HttpReply::Failure::none
                              ? fmt::format("the server answered {}", reply.status)
                              : "the connection failed: " + reply.reason;
  note(fmt::format("{}; attempt {} of {} in {:.1f} s", why, attempt + 1, kAttempts,
                   std::chrono::duration<double>(wait).count()));
  const auto end = std::chrono::steady_clock::now() + wait;
  while (std::chrono::steady_clock::now() < end) {
    leave_if_stopped();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

template <class Request>
HttpReply Hub::insist(const std::string& name, Request&& request) {
  for (int attempt = 1;; ++attempt) {
    HttpReply reply = request();
    leave_if_stopped();
    const bool redirected = reply.failure == HttpReply::Failure::none && reply.status >= 300 && reply.status < 400;
    if (reply.ok() || redirected) return reply;
    wait_or_fail(reply, attempt, name);
  }
}

HubListing Hub::list(const std::string& name, const std::string& revision) {
  const std::string url = fmt::format("{}/api/models/{}/revision/{}", endpoint_, name, percent_encoded(revision));
  const HttpReply reply = insist(name, [&] { return client_.text(url, kMaxListingBytes); });
  return with_context(ExitCode::model, url, [&] {
    const Json json = Json::parse(reply.body);
    HubListing listing{.commit = json.at("sha").as_string()};
    if (!is_hex(listing.commit, 40)) fail(ExitCode::malformed, "\"sha\" is no commit: " + listing.commit);
    for (const Json& file : json.at("siblings").as_array()) {
      const std::string& path = file.at("rfilename").as_string();
      if (!is_plain_relative_name(path))
        fail(ExitCode::malformed, "\"" + path + "\" is not a plain relative file name");
      listing.files.push_back(path);
    }
    return listing;
  });
}

HubFile Hub::facts(const std::string& name, const std::string& commit, const std::string& file) {
  const std::string url = fmt::format("{}/{}/resolve/{}/{}", endpoint_, name, commit, percent_encoded(file, "/"));
  const HttpReply reply = insist(name, [&] { return client_.head(url); });
  return with_context(ExitCode::model, url, [&] {
    if (reply.header("x-repo-commit") != commit) {
      fail(ExitCode::malformed,
           fmt::format("expected the header X-Repo-Commit: {}, got \"{}\"", commit, reply.header("x-repo-commit")),
           "HF_ENDPOINT must name a server that speaks as the Hugging Face hub does");
    }
    const std::string linked = reply.header("x-linked-etag");
    HubFile facts{.name = file, .hash = bare_etag(linked.empty() ? reply.header("etag") : linked)};
    if (!is_hex(facts.hash, 64) && !is_hex(facts.hash, 40)) {
      fail(ExitCode::malformed, fmt::format("expected a SHA-256 or git SHA-1 as ETag, got \"{}\"", facts.hash),
           "without one the file cannot be verified");
    }
    const std::string linked_size = reply.header("x-linked-size");
    const std::string size = !linked_size.empty() ? linked_size : reply.ok() ? reply.header("content-length") : "";
    if (size.empty() || size.size() > 15 ||
        !std::all_of(size.begin(), size.end(), [](unsigned char c) { return std::isdigit(c); })) {
      fail(ExitCode::malformed, fmt::format("expected the file's size, got \"{}\"", size));
    }
    facts.bytes = std::stoull(size);
    return facts;
  });
}

HttpReply Hub::fetch(const std::string& name, const std::string& commit, const std::string& file, uint64_t from,
                     const HttpClient::Receiver& receive) {
  return client_.bytes(fmt::format("{}/{}/resolve/{}/{}", endpoint_, name, commit, percent_encoded(file, "/")), from,
                       receive);
}

}  // namespace prentice

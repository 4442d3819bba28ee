#include "proof/llama_server.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "core/error.h"
#include "hub/transfer.h"
#include "io/json.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr long kFirstSeconds = 10;    // it is there, or it is not
constexpr long kAnswerSeconds = 600;  // a prompt on a slow machine
constexpr size_t kMostBytes = size_t{64} << 20;
constexpr int64_t kShownIds = 20;

class Server {
 public:
  Server(const std::string& address, std::string_view key)
      : address_(address.substr(0, address.find_last_not_of('/') + 1)),
        key_(key),
        client_({.stall_seconds = kFirstSeconds, .direct = true, .stopped = [] { return stop_signal() != 0; }}) {}

  // What it says of itself. Errors: `usage`.
  Json get(const std::string& path) {
    const HttpReply reply = client_.text(address_ + path, kMostBytes);
    require(reply, path, ExitCode::usage);
    return parse(reply, path);
  }
  // The same where it may not know the question: null.
  Json get_if_known(const std::string& path) {
    const HttpReply reply = client_.text(address_ + path, kMostBytes);
    if (reply.failure == HttpReply::Failure::none && reply.status == 404) return {};
    require(reply, path, ExitCode::usage);
    return parse(reply, path);
  }
  Json ask(const std::string& path, const Json& question) {
    const HttpReply reply = client_.post(address_ + path, question.dump(), kMostBytes, kAnswerSeconds);
    require(reply, path, ExitCode::storage);
    return parse(reply, path);
  }
  // What an answer of `path` says, where it has the form that `read` takes.
  template <class Read>
  auto reading(const std::string& path, Read&& read) const {
    return with_context(ExitCode::usage,
                        fmt::format("{}: {}{} does not answer as llama-server does", key_, address_, path), read);
  }

 private:
  void require(const HttpReply& reply, const std::string& path, ExitCode when_away) const {
    throw_if_stopped();
    if (reply.ok()) return;
    const std::string where = fmt::format("{}: {}{}", key_, address_, path);
    if (reply.failure == HttpReply::Failure::sink)
      fail(ExitCode::usage, fmt::format("{} answers with more than {} bytes", where, kMostBytes));
    if (reply.failure == HttpReply::Failure::request) fail(ExitCode::usage, where + ": " + reply.reason);
    if (reply.failure != HttpReply::Failure::none) {
      fail(when_away, fmt::format("{}: no server answers there: {}", where, reply.reason),
           "llama-server -m FILE.gguf --port 8080, and verify.llama_cpp=http://127.0.0.1:8080");
    }
    fail(ExitCode::usage, fmt::format("{} answers {}: {}", where, reply.status, told(reply.body)),
         reply.status == 503 ? "ask again once it has loaded the model" : "");
  }

  // The message of an error, or the beginning of what else was said.
  static std::string told(const std::string& body) {
    constexpr size_t kShown = 200;
    std::string text = body.substr(0, kShown);
    for (char& c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    return text.empty() ? "without a word" : text;
  }

  Json parse(const HttpReply& reply, const std::string& path) const {
    return reading(path, [&] { return Json::parse(reply.body); });
  }

  std::string address_, key_;
  HttpClient client_;
};

// Of an adapter that it was started with; the others, which it has switched on by itself, are off.
struct ServedAdapters {
  std::string refusal;
  Json scales;  // null: it has none
};

ServedAdapters served_adapters(Server& server, const fs::path& adapter) {
  constexpr const char* kPath = "/lora-adapters";
  const Json known = server.get_if_known(kPath);
  ServedAdapters found;
  Json::Array scales;
  int matches = 0;
  server.reading(kPath, [&] {
    if (known.is_null()) return;
    const bool only_one = known.as_array().size() == 1;
    for (const auto& one : known.as_array()) {
      const bool is_it =
          !adapter.empty() && (only_one || fs::path(one.at("path").as_string()).filename() == adapter.filename());
      matches += is_it ? 1 : 0;
      scales.push_back(Json::Object{{"id", one.at("id").as_integer()}, {"scale", is_it ? 1.0 : 0.0}});
    }
  });
  if (!adapter.empty() && matches != 1) {
    found.refusal =
        matches == 0 ? fmt::format("the server has no adapter of that name: llama-server --lora {}", adapter.string())
                     : fmt::format("the server has {} adapters of that name", matches);
  }
  if (!scales.empty()) found.scales = std::move(scales);
  return found;
}

std::vector<int32_t> ids_of(Server& server, const std::string& text) {
  constexpr const char* kPath = "/tokenize";
  const Json said = server.ask(kPath, Json::Object{{"content", text}, {"add_special", true}, {"parse_special", true}});
  return server.reading(kPath, [&] {
    std::vector<int32_t> ids;
    for (const auto& id : said.at("tokens").as_array()) {
      if (!std::in_range<int32_t>(id.as_integer()))
        fail(ExitCode::malformed, fmt::format("{} is no token id", id.as_integer()));
      ids.push_back(static_cast<int32_t>(id.as_integer()));
    }
    return ids;
  });
}

std::optional<ForeignAnswer> answer_behind(Server& server, std::span<const int64_t> ids, const Json& adapters) {
  constexpr const char* kPath = "/completion";
  Json question = Json::Object{{"prompt", Json::Array(ids.begin(), ids.end())},
                               {"n_predict", 1},
                               {"temperature", 0.0},
                               {"top_k", 1},
                               {"samplers", Json::Array{"top_k", "temperature"}},
                               {"n_probs", kShownIds},
                               {"post_sampling_probs", false},
                               {"return_tokens", true},
                               {"cache_prompt", true},
                               {"stream", false}};
  if (!adapters.is_null()) question["lora"] = adapters;
  const Json said = server.ask(kPath, question);
  return server.reading(kPath, [&]() -> std::optional<ForeignAnswer> {
    said.at("content").as_string();
    const auto& tokens = said.at("tokens").as_array();
    const Json* steps = said.find("completion_probabilities");
    // It leaves out the step of an id that is a part of a character, and may go on to the next one.
    if (!steps || steps->as_array().empty() || steps->as_array().size() != tokens.size()) return std::nullopt;
    const Json& step = steps->as_array().front();
    ForeignAnswer answer{.greedy = step.at("id").as_integer()};
    if (tokens.front().as_integer() != answer.greedy)
      fail(ExitCode::malformed, "tokens and their probabilities differ");
    for (const auto& one : step.at("top_logprobs").as_array())
      answer.likeliest.emplace_back(one.at("id").as_integer(), one.at("logprob").as_number());
    if (answer.likeliest.empty()) fail(ExitCode::malformed, "top_logprobs is empty");
    return answer;
  });
}

// How many ids it knows, where it tells.
std::optional<int64_t> vocabulary_of(Server& server) {
  constexpr const char* kPath = "/v1/models";
  const Json models = server.get_if_known(kPath);
  return server.reading(kPath, [&]() -> std::optional<int64_t> {
    if (models.is_null()) return std::nullopt;
    const auto& list = models.at("data").as_array();
    const Json* meta = list.empty() ? nullptr : list.front().find("meta");
    const Json* count = meta ? meta->find("n_vocab") : nullptr;
    return count ? std::optional(count->as_integer()) : std::nullopt;
  });
}

// Ids that a prompt may have: one more is decoded.
int64_t context_of(Server& server) {
  constexpr const char* kPath = "/props";
  const Json props = server.get(kPath);
  return server.reading(kPath, [&] {
    const int64_t ids = props.at("default_generation_settings").at("n_ctx").as_integer();
    if (ids < 2) fail(ExitCode::malformed, fmt::format("n_ctx is {}, which holds no prompt and an id behind it", ids));
    return ids - 1;
  });
}

}  // namespace

CallWitness llama_server(const std::string& address, std::string_view key) {
  const auto server = std::make_shared<Server>(address, key);
  const int64_t context = context_of(*server);
  return [server, context](const fs::path&, const fs::path& adapter) {
    const auto adapters = std::make_shared<const ServedAdapters>(served_adapters(*server, adapter));
    if (!adapters->refusal.empty()) return Witness{.refusal = adapters->refusal};
    return Witness{
        .vocab = vocabulary_of(*server),
        .ids =
            [server](const std::vector<std::string>& texts) {
              std::vector<std::vector<int32_t>> all;
              for (const auto& text : texts) all.push_back(ids_of(*server, text));
              return all;
            },
        .answers = [server,
                    adapters](std::span<const int64_t> ids) { return answer_behind(*server, ids, adapters->scales); },
        .context = context};
  };
}

}  // namespace prentice

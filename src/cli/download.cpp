// The verb `download`: what a person sees of hub/download.h while it works and at its end.
#include "hub/download.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "cli/terminal.h"
#include "cli/verbs.h"
#include "core/error.h"
#include "core/units.h"
#include "core/utf8.h"
#include "hub/cache.h"
#include "io/json.h"
#include "run/progress.h"
#include "run/signals.h"

namespace prentice {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One line that a terminal redraws; a pipe gets one every ten seconds.
class DownloadLine {
 public:
  explicit DownloadLine(bool quiet) : printer_(quiet), interval_(isatty(STDERR_FILENO) ? 0.2 : 10) {}

  void note(const std::string& text) { printer_.note(text); }

  void show(const DownloadProgress& progress) {
    if (first_bytes_ == UINT64_MAX) {
      first_bytes_ = progress.bytes_done;
      start_ = Clock::now();
    }
    if (seconds_since(shown_) < interval_ && progress.files_done < progress.files) return;
    shown_ = Clock::now();
    printer_.show(line(progress));
  }

 private:
  std::string line(const DownloadProgress& p) const {
    const double seconds = seconds_since(start_), fetched = static_cast<double>(p.bytes_done - first_bytes_);
    std::string text =
        fmt::format("{} of {} files | {} of {} {:.0f}%", p.files_done, p.files,
                    human_bytes(static_cast<double>(p.bytes_done)), human_bytes(static_cast<double>(p.bytes)),
                    p.bytes > 0 ? 100.0 * static_cast<double>(p.bytes_done) / static_cast<double>(p.bytes) : 100.0);
    if (seconds > 1 && fetched > 0) {
      const double rate = fetched / seconds;
      text += fmt::format(" | {}/s | ETA {}", human_bytes(rate),
                          human_duration(static_cast<double>(p.bytes - p.bytes_done) / rate));
    }
    return p.files_done < p.files ? text + " | " + p.file : text;
  }

  ProgressPrinter printer_;
  double interval_;
  uint64_t first_bytes_ = UINT64_MAX;  // there when the work began
  Clock::time_point start_ = Clock::now(), shown_;
};

std::string result_json(const Downloaded& result, const std::string& name, const std::string& revision) {
  Json::Array files;
  for (const auto& file : result.files) {
    files.push_back(Json::Object{{"name", file.name}, {"bytes", file.bytes}, {"hash", file.hash}});
  }
  const Json json = Json::Object{{"schema", 1},
                                 {"model", name},
                                 {"revision", revision},
                                 {"commit", result.commit},
                                 {"path", result.snapshot.string()},
                                 {"bytes", result.bytes},
                                 {"fetched_bytes", result.fetched_bytes},
                                 {"files", std::move(files)}};
  return json.dump() + "\n";
}

// ORG/NAME of a model's page at a hub, whatever the host and what follows (.../tree/main); "" for no such address.
std::string name_in_address(std::string_view address) {
  const size_t scheme = address.find("://");
  if (scheme == address.npos) return "";
  const size_t host = address.find('/', scheme + 3);
  if (host == address.npos) return "";
  const std::string_view path = address.substr(host + 1);
  const size_t slash = path.find('/');
  if (slash == path.npos) return "";
  const std::string name(path.substr(0, std::min(path.find_first_of("/?#", slash + 1), path.size())));
  return is_hub_name(name) ? name : "";
}

}  // namespace

int verb_download(const Arguments& arguments) {
  if (arguments.words.size() != 1) {
    fail(ExitCode::usage, "download: expected one model, ORG/NAME",
         "prentice download ORG/NAME, as the address of its page at the hub ends");
  }
  const std::string& name = arguments.words[0];
  if (const std::string inside = name_in_address(name); !inside.empty()) {
    fail(ExitCode::usage, "download: expected ORG/NAME, got the address of a page", "prentice download " + inside);
  }
  const std::string revision = arguments.revision.empty() ? "main" : arguments.revision;
  Downloaded result;
  {
    DownloadLine line(arguments.flags.quiet);
    const HubCallbacks callbacks{.note = [&](const std::string& text) { line.note(printable(text)); },
                                 .stopped = [] { return stop_signal() != 0; },
                                 .leave = [] { throw_if_stopped("; the same command continues the download"); }};
    result = download_model(name, revision, callbacks, [&](const DownloadProgress& p) { line.show(p); });
  }
  if (arguments.flags.json) {
    print_result(result_json(result, name, revision));
    return 0;
  }
  if (!arguments.flags.quiet) {
    const std::string fetched = result.fetched_bytes == 0
                                    ? "all of it was in the cache"
                                    : human_bytes(static_cast<double>(result.fetched_bytes)) + " fetched";
    fmt::print(stderr, "{} {}: {} files, {}, {}; every hash is right\n", name, result.commit.substr(0, 12),
               result.files.size(), human_bytes(static_cast<double>(result.bytes)), fetched);
    if (revision == "main") fmt::print(stderr, "next: prentice inspect {0}, or model.path={0}\n", name);
  }
  print_result(result.snapshot.string() + "\n");
  return 0;
}

}  // namespace prentice

#include "run/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "run/clock.h"

namespace prentice {

namespace {

constexpr double kGigabyte = 1e9;

std::string rate_text(double per_second) {
  if (per_second < 999.5) return fmt::format("{:.0f}", per_second);
  if (per_second < 999.95e3) return fmt::format("{:.1f}k", per_second / 1e3);
  return fmt::format("{:.2f}M", per_second / 1e6);
}

std::string norm_text(double norm) {
  if (norm != 0 && std::abs(norm) < 0.01) return fmt::format("{:.1e}", norm);
  return norm < 100 ? fmt::format("{:.2f}", norm) : fmt::format("{:.3g}", norm);
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  return fmt::format("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

std::string progress_line(const Progress& p) {
  std::string line = fmt::format("step {}/{} {}%", p.step, p.steps, p.steps > 0 ? 100 * p.step / p.steps : 100);
  const auto add = [&](const std::string& part) { line += " | " + part; };
  if (p.loss) add(fmt::format("loss {:#.4g}", *p.loss));
  if (p.lr) add(fmt::format("lr {:.2g}", *p.lr));
  if (p.gradient_norm) add("gnorm " + norm_text(*p.gradient_norm));
  if (p.accuracy) add(fmt::format("acc {:.0f}%", 100 * *p.accuracy));
  if (p.margin) add(fmt::format("margin {:.3g}", *p.margin));
  if (p.divergence) add(fmt::format("div {:.3g}", *p.divergence));
  if (p.cross_entropy) add(fmt::format("ce {:.3g}", *p.cross_entropy));
  if (p.top_k_mass) add(fmt::format("mass {:.1f}%", 100 * *p.top_k_mass));
  if (p.tokens_per_second) add(rate_text(*p.tokens_per_second) + " tok/s");
  if (p.mfu) add(fmt::format("{:.1f}% MFU", 100 * *p.mfu));
  if (p.memory.used > 0 && p.memory.total > 0) {
    add(fmt::format("{:.1f}/{:.0f} GB", static_cast<double>(p.memory.used) / kGigabyte,
                    static_cast<double>(p.memory.total) / kGigabyte));
  }
  if (p.data_share) add(fmt::format("data {:.0f}%", 100 * *p.data_share));
  if (p.seconds_left) add("ETA " + clock_text(*p.seconds_left));
  return line;
}

ProgressPrinter::ProgressPrinter(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressPrinter::~ProgressPrinter() {
  if (open_line_) std::fputc('\n', stderr);
}

void ProgressPrinter::show(const std::string& line) {
  if (quiet_) return;
  if (!terminal_) return note(line);
  const std::string fitting = line.substr(0, terminal_width() - 1);  // a wrapped line cannot be redrawn
  std::fprintf(stderr, "\r\x1b[K%s", fitting.c_str());
  std::fflush(stderr);
  open_line_ = true;
}

void ProgressPrinter::note(const std::string& line) {
  if (quiet_) return;
  std::fprintf(stderr, "%s%s\n", open_line_ ? "\n" : "", line.c_str());
  std::fflush(stderr);
  open_line_ = false;
}

SessionProgress::SessionProgress(size_t first, size_t steps, int64_t every, c10::Device device, bool quiet)
    : first_(first),
      done_(first),
      steps_(steps),
      every_(every),
      device_(device),
      printer_(quiet),
      started_(monotonic_seconds()) {}

void SessionProgress::done(int64_t tokens) {
  ++done_;
  tokens_ += tokens;
  if (done_ % static_cast<size_t>(every_) != 0 && done_ != steps_) return;
  const double seconds = std::max(1e-9, monotonic_seconds() - started_);
  const double left = static_cast<double>(steps_ - done_) / static_cast<double>(done_ - first_);
  printer_.show(progress_line({.step = static_cast<int64_t>(done_),
                               .steps = static_cast<int64_t>(steps_),
                               .tokens_per_second = static_cast<double>(tokens_) / seconds,
                               .memory = memory_use(device_),
                               .seconds_left = seconds * left}));
}

}  // namespace prentice

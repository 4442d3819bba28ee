#include "run/signals.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

namespace prentice {

namespace {

volatile sig_atomic_t g_stop_signal = 0;

void on_stop_signal(int signal) {
  const int counts_as = signal == SIGUSR1 ? SIGTERM : signal;
  if (g_stop_signal != 0) leave_by_signal(counts_as);
  g_stop_signal = counts_as;
}

}  // namespace

void catch_stop_signals() {
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaction(signal, &action, nullptr);
  for (const int ignored : {SIGXFSZ, SIGPIPE}) ::signal(ignored, SIG_IGN);
}

int stop_signal() { return g_stop_signal; }

Stopped::Stopped(int signal, const char* note)
    : signal_(signal), what_(std::string("stopped by ") + (signal == SIGINT ? "SIGINT" : "SIGTERM") + note) {}

void throw_if_stopped(const char* note) {
  if (g_stop_signal != 0) throw Stopped(g_stop_signal, note);
}

void leave_by_signal(int signal) {
  // Only calls that are safe inside a handler.
  ::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
  ::_exit(128 + signal);
}

}  // namespace prentice

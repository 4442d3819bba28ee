// Signals that ask a run to stop: the handler only sets a flag, work saves at its next boundary, and the process then
// ends as that signal would have ended it. Every verb uses it.
#pragma once

#include <exception>
#include <string>

namespace prentice {

// From now on SIGTERM, SIGINT and SIGUSR1 (which counts as SIGTERM) are remembered; a second one ends the process at
// once with its status. Writing past a limit or into a closed pipe becomes an error code instead of a signal.
void catch_stop_signals();

// SIGINT or SIGTERM once one has arrived, else 0.
int stop_signal();

// Thrown at a boundary where everything is saved; the command line answers it with leave_by_signal.
class Stopped : public std::exception {
 public:
  // `note`: what the user may do next, for instance "; the same command continues the run".
  explicit Stopped(int signal, const char* note = "");
  int signal() const { return signal_; }
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  int signal_;
  std::string what_;
};

// The note of work that left what the same command goes on from.
inline constexpr const char* kContinues = "; the same command continues the run";

// Throws Stopped when a signal has arrived. Without a note: for work that leaves nothing behind.
void throw_if_stopped(const char* note = "");

// Ends the process with the default action of `signal`; where that is ignored (process 1 of a container) with
// _exit(128 + signal).
[[noreturn]] void leave_by_signal(int signal);

}  // namespace prentice

// Tests that need a process of their own: it runs a body, and its end is told as a shell would.
#pragma once

#include <ATen/Parallel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

#include "core/error.h"
#include "run/signals.h"

namespace prentice::toy {

// Starts a process that runs `body` as the command line would: errors become exit codes, Stopped becomes its signal.
// One thread, because a pool of threads does not survive a fork.
inline pid_t start_process(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  if (std::freopen("/dev/null", "w", stderr) == nullptr) ::_exit(99);
  at::set_num_threads(1);
  catch_stop_signals();
  try {
    body();
  } catch (const Stopped& stopped) {
    leave_by_signal(stopped.signal());
  } catch (const Error& error) {
    ::_exit(static_cast<int>(error.code()));
  } catch (...) {
    ::_exit(98);
  }
  ::_exit(0);
}

// Everyday tests take `few` seeded trials, PRENTICE_FULL=1 the stated number.
inline int trials(int few, int stated) { return std::getenv("PRENTICE_FULL") == nullptr ? few : stated; }

// 0..255, or 128 + the signal that ended it.
inline int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

inline int run_process(const std::function<void()>& body) { return wait_for(start_process(body)); }

}  // namespace prentice::toy

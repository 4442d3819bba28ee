// Runs the real program many times without its start: what takes half a second, loading LibTorch, happens once, and
// each line of stdin is a run in a fork of that state. The parent never calls into the program, so a fork is as a new
// process.
//
// A line: MEGABYTES<tab>SECONDS<tab>OUT<tab>WORD<tab>WORD...   stdout and stderr go to OUT.out and OUT.err
// Its answer: EXIT<tab>SECONDS OF PROCESSOR   EXIT is 128 + the signal that ended it, 142 when it took too long
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

int prentice_main(int argc, char** argv);  // src/cli/main.cpp's main under another name

namespace {

// Private memory that may be written: heap, anonymous mappings, stacks of threads. It is what RLIMIT_DATA counts.
rlim_t data_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmData:")) return std::stoull(line.substr(7)) * 1024;
  }
  std::abort();
}

void redirect(const char* path, const char* mode, FILE* stream) {
  if (std::freopen(path, mode, stream) == nullptr) ::_exit(125);
}

[[noreturn]] void run(const std::vector<std::string>& words) {
  redirect("/dev/null", "r", stdin);
  redirect((words[2] + ".out").c_str(), "w", stdout);
  redirect((words[2] + ".err").c_str(), "w", stderr);
  ::alarm(static_cast<unsigned>(std::stoul(words[1])));
#ifndef __SANITIZE_ADDRESS__  // whose own memory is far more
  const rlim_t most = data_bytes() + (std::stoull(words[0]) << 20);
  const rlimit limit{most, most};
  if (::setrlimit(RLIMIT_DATA, &limit) != 0) ::_exit(125);
#endif
  std::vector<std::string> kept = {"prentice"};
  kept.insert(kept.end(), words.begin() + 3, words.end());
  std::vector<char*> arguments;
  for (auto& word : kept) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::exit(prentice_main(static_cast<int>(kept.size()), arguments.data()));
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<std::string> words;
    std::istringstream rest(line);
    for (std::string word; std::getline(rest, word, '\t');) words.push_back(word);
    if (words.size() < 4) return 2;
    const pid_t child = ::fork();
    if (child == 0) run(words);
    int status = 0;
    rusage used{};
    ::wait4(child, &status, 0, &used);
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    std::cout << (WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)) << '\t'
              << seconds(used.ru_utime) + seconds(used.ru_stime) << std::endl;
  }
}

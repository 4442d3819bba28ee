// Reads every file given as the target would: `prentice_replay [--good] TARGET FILE...`. For the everyday tests, and to
// look at a file that fuzzing has found. With --good a file that is refused is a failure too.
#include <cstdio>
#include <string_view>

#include "fuzz/targets.h"
#include "io/file.h"

int main(int argc, char** argv) {
  int at = 1;
  if (at < argc && std::string_view(argv[at]) == "--good") prentice::fuzz::every_file_is_good = true, ++at;
  const auto* target = at < argc ? prentice::fuzz::find_target(argv[at++]) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "prentice_replay [--good] TARGET FILE..., where TARGET is one of");
    for (const auto& known : prentice::fuzz::targets()) std::fprintf(stderr, " %s", known.name.data());
    std::fprintf(stderr, "\n");
    return 2;
  }
  for (; at < argc; ++at) {
    std::fprintf(stderr, "%s\n", argv[at]);  // the last one said is the one that failed
    const auto file = prentice::MappedFile::open(argv[at]);
    target->read(file.bytes());
  }
}

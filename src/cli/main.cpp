// From the command line to an exit status: the one place that prints errors.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <typeinfo>

#include "cli/terminal.h"
#include "cli/verbs.h"
#include "core/out_of_memory.h"
#include "core/tensor_heap.h"
#include "core/utf8.h"
#include "io/json.h"
#include "run/signals.h"

namespace prentice {
namespace {

Json to_json(const Diagnostic& d) {
  return Json::Object{
      {"file", printable(d.file)},       {"line", d.line},           {"column", d.column}, {"key", printable(d.key)},
      {"message", printable(d.message)}, {"hint", printable(d.hint)}};
}

struct Edge {
  bool json = false, debug = false, k8s = false;

  int status(ExitCode code) const { return code == ExitCode::distributed && k8s ? 200 : static_cast<int>(code); }

  void print_json(const std::vector<Diagnostic>& diagnostics, int status) const {
    if (!json) return;
    Json::Array errors;
    for (const auto& d : diagnostics) errors.push_back(to_json(d));
    print_result(Json(Json::Object{{"schema", 1}, {"errors", std::move(errors)}, {"exit_code", status}}).dump() + "\n");
  }

  int report(ExitCode code, const std::vector<Diagnostic>& diagnostics) const {
    if (code == ExitCode::malformed) code = ExitCode::data;
    for (const auto& d : diagnostics) {
      fmt::print(stderr, "{} {}\n", styled("error:", Style::error, STDERR_FILENO), printable(to_string(d)));
      if (!d.hint.empty())
        fmt::print(stderr, "{} {}\n", styled("hint:", Style::hint, STDERR_FILENO), printable(d.hint));
    }
    print_json(diagnostics, status(code));
    return status(code);
  }

  int report_foreign(const std::exception& error) const {
    if (const auto asked = out_of_memory(error)) {
      return report(ExitCode::memory,
                    {{.message = "out of memory" + (asked->empty() ? "" : ": " + *asked + " could not be had"),
                      .hint = "`prentice plan` shows what each phase needs"}});
    }
    // A path that the system will not walk: a loop of links, a name too long, no permission.
    if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error))
      return report(ExitCode::storage, {{.message = file->path1().string() + ": " + file->code().message()}});
    const std::string_view what = error.what();
    if (debug) fmt::print(stderr, "{}\n", printable(what));
    const std::string first(what.substr(0, what.find('\n')));
    return report(ExitCode::internal,
                  {{.message = fmt::format("internal error: {} ({})", first, typeid(error).name()),
                    .hint = "this is a bug: please report it with the command, the recipe and the output of --debug"}});
  }
};

// A full disk shows when the buffer is written; a reader that has left (`| head`) is no mistake.
int flush_results(int status, const Edge& edge) {
  errno = 0;
  if (std::fflush(stdout) == 0 || errno == EPIPE || status != 0) return status;
  return edge.report(ExitCode::storage, {{.message = "the result could not be written to stdout"}});
}

int run(const std::vector<std::string>& words) {
  Edge edge;
  for (const auto& word : words) {  // before parsing, so that its errors take the asked form too
    edge.json = edge.json || word == "--json";
    edge.debug = edge.debug || word == "--debug";
    edge.k8s = edge.k8s || word == "--k8s-exit-codes";
  }
  int status = 0;
  try {
    catch_stop_signals();
    status = run_command(parse_arguments(words));
  } catch (const Error& error) {
    status = edge.report(error.code(), error.diagnostics());
  } catch (const Stopped& stopped) {
    fmt::print(stderr, "{}\n", stopped.what());
    edge.print_json({{.message = stopped.what()}}, 128 + stopped.signal());
    std::fflush(stdout);
    leave_by_signal(stopped.signal());
  } catch (const std::exception& error) {
    status = edge.report_foreign(error);
  }
  return flush_results(status, edge);
}

// By default the size from which a block is the system's own grows with the blocks that are freed, up to 32 MB, and
// which blocks then lie among each other in the heap hangs on the threads' timing: the same run took 110 to 147 MB
// (tests/recipes/test_memory.py, teach: 14 times). With a fixed size it takes 113 to 124 (11 times), 118 being planned.
void fix_heap_layout() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  mallopt(M_TRIM_THRESHOLD, 8 << 20);
#endif
}

}  // namespace
}  // namespace prentice

int main(int argc, char** argv) {
  prentice::fix_heap_layout();
  prentice::install_tensor_heap();
  // Read by cuBLAS and MKL when they start: results must not depend on free workspace or load.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  setenv("MKL_DYNAMIC", "FALSE", 0);
  // oneDNN, and LibTorch above it, keep compiled code for each of the last 1,024 shapes of a product: rows of ever new
  // lengths would fill about 1 GB. A step's own shapes, which its layers share, are far fewer.
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32", 0);
  setenv("LRU_CACHE_CAPACITY", "32", 0);
  // A GPU's memory grows in place, so that what a large tensor leaves serves others of any size.
  if (!std::getenv("PYTORCH_CUDA_ALLOC_CONF")) setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", 0);
  const int status = prentice::run({argv + 1, argv + argc});
  std::fflush(nullptr);
  std::_Exit(status);  // LibTorch takes 0.1 s to take its operators down one by one
}

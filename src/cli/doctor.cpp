// `doctor`: what this machine offers, and what is missing or too old, with the remedy.
#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "artifact/machine.h"
#include "cli/installation.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "cli/version.h"
#include "core/host.h"
#include "core/units.h"
#include "core/utf8.h"
#include "hub/cache.h"
#include "io/json.h"
#include "io/sha256.h"
#include "kernels/cuda_plugin.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

struct Finding {
  std::string name, value;
  std::string remedy;  // "" = fine
};

// A field of /proc/cpuinfo or /proc/meminfo.
std::string proc_field(const char* path, std::string_view name) {
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(name)) continue;
    const size_t value = line.find_first_not_of(" \t", line.find(':') + 1);
    return value == line.npos ? "" : line.substr(value);
  }
  return "";
}

Finding cpu() {
  const std::string flags = " " + proc_field("/proc/cpuinfo", "flags") + " ";
  std::string found;
  for (const char* wanted : {"avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"}) {
    if (flags.find(" " + std::string(wanted) + " ") != flags.npos)
      found += std::string(found.empty() ? "" : " ") + wanted;
  }
  std::string model = proc_field("/proc/cpuinfo", "model name");
  if (model.empty()) {
    utsname system{};
    model = uname(&system) == 0 ? system.machine : "unknown";
  }
  Finding finding{"CPU", fmt::format("{}; {}", model, found.empty() ? "no vector extensions known here" : found)};
  if (flags.size() > 2 && found.find("avx2") == found.npos)
    finding.remedy = "training on a CPU without AVX2 is several times slower: use a newer one, or a GPU";
  return finding;
}

Finding threads() {
  const double quota = quota_cores();
  return {"threads", fmt::format("{} used of {} cores ({})", available_threads(), std::thread::hardware_concurrency(),
                                 quota > 0 ? fmt::format("cgroup quota: {:.3g}", quota) : "no cgroup quota")};
}

double kib(const std::string& text) { return std::strtod(text.c_str(), nullptr) * 1024; }

Finding memory() {
  const double total = kib(proc_field("/proc/meminfo", "MemTotal"));
  const double available = kib(proc_field("/proc/meminfo", "MemAvailable"));
  const uint64_t limit = memory_limit_bytes();
  Finding finding{"memory", fmt::format("{}, {} available", human_bytes(total), human_bytes(available))};
  if (limit > 0) finding.value += fmt::format(", cgroup limit {}", human_bytes(static_cast<double>(limit)));
  if (available < 2e9) finding.remedy = "less than 2 GB are free: close other programs, or expect exit 7";
  return finding;
}

Finding disk() {
  struct statvfs info {};
  if (statvfs(".", &info) != 0)
    return {"disk", "unknown", "the current folder cannot be examined: go to one that exists"};
  const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  Finding finding{"disk", fmt::format("{} free here", human_bytes(free))};
  if (free < 5e9) finding.remedy = "runs keep checkpoints and exports: free some space, or set run.out to another disk";
  if (access(".", W_OK) != 0)
    finding.remedy = "the current folder is not writable: runs go to ./runs unless run.out says otherwise";
  return finding;
}

// Asks the driver's management library, which makes no context; loaded by hand because most machines lack it.
std::string ask_driver(std::string& driver) {
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return "";
  struct Memory {
    unsigned long long total, free, used;
  };
  const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
  const auto version = reinterpret_cast<int (*)(char*, unsigned)>(dlsym(library, "nvmlSystemGetDriverVersion"));
  const auto count = reinterpret_cast<int (*)(unsigned*)>(dlsym(library, "nvmlDeviceGetCount_v2"));
  const auto handle = reinterpret_cast<int (*)(unsigned, void**)>(dlsym(library, "nvmlDeviceGetHandleByIndex_v2"));
  const auto name = reinterpret_cast<int (*)(void*, char*, unsigned)>(dlsym(library, "nvmlDeviceGetName"));
  const auto memory = reinterpret_cast<int (*)(void*, Memory*)>(dlsym(library, "nvmlDeviceGetMemoryInfo"));
  if (!init || !version || !count || !handle || !name || !memory || init() != 0) return "";
  char text[96] = {};
  if (version(text, sizeof text) == 0) driver = text;
  unsigned devices = 0;
  if (count(&devices) != 0) return "";
  std::string found;
  for (unsigned i = 0; i < devices; ++i) {
    void* device = nullptr;
    Memory bytes{};
    char label[96] = {};
    if (handle(i, &device) != 0 || name(device, label, sizeof label) != 0 || memory(device, &bytes) != 0) continue;
    found += fmt::format("{}{} ({})", found.empty() ? "" : ", ", label, human_bytes(static_cast<double>(bytes.total)));
  }
  return found;
}

std::vector<Finding> gpu() {
  if (!has_nvidia_driver()) return {{"GPU", "none: training runs on the CPU", ""}};
  constexpr int kNeededDriver = 580;  // of CUDA 13.0, which LibTorch 2.11 is built with
  std::string driver;
  const std::string devices = ask_driver(driver);
  std::vector<Finding> findings = {
      {"GPU", devices.empty() ? "a driver, but no device answers" : devices,
       devices.empty() ? "`nvidia-smi` says more; in a container start it with --gpus all" : ""}};
  Finding version{"driver", driver.empty() ? "unknown" : driver};
  if (!driver.empty() && std::atoi(driver.c_str()) < kNeededDriver)
    version.remedy = fmt::format("CUDA 13.0 needs driver {} or newer", kNeededDriver);
  findings.push_back(std::move(version));
  const fs::path plugin = find_cuda_plugin();
  findings.push_back({"CUDA plug-in", plugin.empty() ? "not built" : plugin.string(),
                      !plugin.empty() ? "" : "scripts/setup.sh and scripts/build.sh build it where there is a GPU"});
  return findings;
}

Finding locale() {
  const char* name = std::setlocale(LC_CTYPE, "");
  const std::string value = name ? name : "not set";
  std::setlocale(LC_CTYPE, "C");
  const bool utf8 = value.find("UTF-8") != value.npos || value.find("utf8") != value.npos;
  return {"locale", value, utf8 ? "" : "text is UTF-8 in any case; a terminal may show it wrong: export LANG=C.UTF-8"};
}

std::vector<Finding> caches() {
  const fs::path hashes = default_hash_cache();
  const fs::path models = hub_cache_folder();
  std::error_code error;
  const bool has_models = !models.empty() && fs::is_directory(models, error);
  return {{"hash cache", hashes.empty() ? "none" : hashes.string(),
           hashes.empty() ? "set HOME or XDG_CACHE_HOME: input hashes are computed anew each run" : ""},
          {"model cache", has_models ? models.string() : "none", ""}};
}

}  // namespace

int verb_doctor(const Arguments& arguments) {
  std::vector<Finding> findings = {{"program", version_line(), ""}, cpu(), threads(), memory(), disk()};
  for (auto& finding : gpu()) findings.push_back(std::move(finding));
  findings.push_back(locale());
  for (auto& finding : caches()) findings.push_back(std::move(finding));
  if (arguments.flags.json) {
    Json::Array list;
    for (const auto& f : findings) {
      list.push_back(Json::Object{
          {"name", f.name}, {"value", printable(f.value)}, {"good", f.remedy.empty()}, {"remedy", f.remedy}});
    }
    print_result(Json(Json::Object{{"schema", 1}, {"findings", std::move(list)}}).dump() + "\n");
    return 0;
  }
  for (const auto& f : findings) {
    const bool good = f.remedy.empty();
    print_result(fmt::format("{} {:<13} {}\n",
                             styled(good ? "ok  " : "note", good ? Style::good : Style::hint, STDOUT_FILENO), f.name,
                             printable(f.value)));
    if (!good) print_result(fmt::format("     {:<13} {}\n", "", f.remedy));
  }
  return 0;
}

}  // namespace prentice

#include "artifact/licences.h"

#include "io/file.h"
#include "io/model_files.h"

namespace prentice {

namespace fs = std::filesystem;

std::map<std::string, std::string> licences_of(const Artifact& artifact) {
  std::map<std::string, std::string> texts;
  if (!artifact.has_weights() || !fs::is_directory(artifact.base)) return texts;
  for (const auto& entry : fs::directory_iterator(artifact.base)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && is_licence_file(name)) texts[name] = read_text_file(entry.path());
  }
  return texts;
}

}  // namespace prentice

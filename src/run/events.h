// events.jsonl: what happened to a run (start, save, resume, warning, end), one object a line.
#pragma once

#include <string>
#include <string_view>

#include "io/json.h"
#include "run/append_file.h"

namespace prentice {

class EventLog {
 public:
  explicit EventLog(const std::filesystem::path& run_folder) : file_(run_folder / "events.jsonl") {}

  // {"time":...,"event":...} and `fields` after them. Errors: `storage`.
  void write(std::string_view event, Json::Object fields = {});
  void warn(const std::string& message);  // also to stderr

 private:
  AppendFile file_;
};

}  // namespace prentice

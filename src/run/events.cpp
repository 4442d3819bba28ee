#include "run/events.h"

#include <cstdio>

#include "run/clock.h"

namespace prentice {

void EventLog::write(std::string_view event, Json::Object fields) {
  Json::Object line = {{"time", wall_time()}, {"event", event}};
  for (auto& field : fields) line.push_back(std::move(field));
  file_.append(Json(std::move(line)).dump() + "\n");
}

void EventLog::warn(const std::string& message) {
  std::fprintf(stderr, "warning: %s\n", message.c_str());
  write("warning", {{"message", message}});
}

}  // namespace prentice

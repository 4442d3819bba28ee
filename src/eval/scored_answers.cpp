#include "eval/scored_answers.h"

#include <algorithm>
#include <map>

#include "io/lines.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// What a person asked: the last user message of a conversation, else the prompt as it stands.
std::string question(const Example& example) {
  const Json* messages = example.record.find("messages");
  if (!messages || !messages->is_array()) return example.prompt;
  std::string text = example.prompt;
  for (const Json& message : messages->as_array()) {
    const Json *role = message.find("role"), *content = message.find("content");
    if (role && content && content->is_string() && *role == Json("user")) text = content->as_string();
  }
  return text;
}

std::map<int64_t, Json> read_answers(const fs::path& path) {
  std::map<int64_t, Json> found;
  if (!fs::exists(path)) return found;
  read_json_lines(path, ExitCode::model, [&](const Json& line) { found.emplace(line.at("index").as_integer(), line); });
  return found;
}

}  // namespace

std::string scored_answers_jsonl(const EvalReport& report, const DataSet& data) {
  std::string lines;
  const auto add = [&](int64_t index, const std::string& expected, const std::string& answer) {
    const Example& example = data.examples.at(static_cast<size_t>(index));
    const Json line =
        Json::Object{{"index", index}, {"prompt", question(example)}, {"expected", expected}, {"answer", answer}};
    lines += line.dump() + "\n";
  };
  if (report.choice) {
    for (const auto& example : report.choice->examples) add(example.index, example.expected, example.answer);
  } else if (report.exact) {
    for (const auto& example : report.exact->examples) add(example.index, example.expected, example.output);
  }
  return lines;
}

std::vector<ComparedAnswer> compare_answers(const fs::path& before, const fs::path& after) {
  const auto early = read_answers(before), late = read_answers(after);
  std::vector<ComparedAnswer> answers;
  for (const auto& [index, line] : late) {
    const auto earlier = early.find(index);
    if (earlier == early.end()) continue;
    answers.push_back({.prompt = line.at("prompt").as_string(),
                       .expected = line.at("expected").as_string(),
                       .before = earlier->second.at("answer").as_string(),
                       .after = line.at("answer").as_string()});
  }
  std::stable_partition(answers.begin(), answers.end(),
                        [](const auto& a) { return a.after == a.expected && a.before != a.expected; });
  return answers;
}

}  // namespace prentice

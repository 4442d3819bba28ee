#include <fmt/format.h>

#include "core/error.h"
#include "text/bridge.h"
#include "text/chat.h"

namespace prentice {

struct RecordTemplate::Impl {
  JinjaTemplate compiled;
  std::string key;
};

namespace {

std::vector<std::string> field_names(const Json& record) {
  std::vector<std::string> names;
  for (const auto& [name, value] : record.as_object()) names.push_back(name);
  return names;
}

// `missing`: one name a line.
[[noreturn]] void fail_undefined(const std::string& key, const std::string& missing, const Json& record) {
  std::string name = missing.substr(0, missing.find('\n'));
  auto fields = field_names(record);
  std::string listed, near = closest_match(name, fields);
  for (const auto& field : fields) listed += (listed.empty() ? "" : ", ") + field;
  std::string hint = near.empty() ? "" : fmt::format("did you mean \"{}\"?", near);
  fail(ExitCode::data, fmt::format("{}: \"{}\" is not a field of the record, which has: {}", key, name, listed), hint);
}

}  // namespace

RecordTemplate::RecordTemplate(std::string source, std::string key) {
  auto compiled = JinjaTemplate::compile(source, true);
  if (auto* failure = std::get_if<JinjaFailure>(&compiled)) {
    fail(ExitCode::usage, fmt::format("{}: template line {}: {}", key, failure->line, failure->text));
  }
  impl_ = std::make_unique<Impl>(Impl{std::move(std::get<JinjaTemplate>(compiled)), std::move(key)});
}

RecordTemplate::RecordTemplate(RecordTemplate&&) noexcept = default;
RecordTemplate::~RecordTemplate() = default;

std::string RecordTemplate::render(const Json& record) const {
  if (!record.is_object()) {
    fail(ExitCode::data, fmt::format("{}: the record is no object but {}", impl_->key, record.kind()));
  }
  std::string json = record.dump();
  auto result = impl_->compiled.render({.json = json, .date = "", .block_begin = "", .block_end = ""});
  if (auto* failure = std::get_if<JinjaFailure>(&result)) {
    using Kind = JinjaFailure::Kind;
    const bool is_template = failure->kind == Kind::broken || failure->kind == Kind::budget;
    if (failure->kind == Kind::undefined) fail_undefined(impl_->key, failure->text, record);
    fail(is_template ? ExitCode::usage : ExitCode::data,
         fmt::format("{}: template line {}: {}", impl_->key, failure->line, failure->text));
  }
  return std::move(std::get<std::string>(result));
}

}  // namespace prentice

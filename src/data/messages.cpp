#include "data/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include "data/problems.h"

namespace prentice {

namespace {

struct RoleName {
  std::string_view spelled, role;
};
constexpr std::string_view kFunctionCall = "function_call";
constexpr RoleName kRoles[] = {
    {"system", "system"},        {"user", "user"}, {"human", "user"},       {"assistant", "assistant"},
    {"gpt", "assistant"},        {"tool", "tool"}, {"observation", "tool"}, {"function_response", "tool"},
    {kFunctionCall, "assistant"}};

const std::string& string_member(const Json& object, std::string_view key) {
  const Json& value = object.at(key);
  if (!value.is_string()) bad_record(fmt::format("{}: expected a string, got {}", key, value.kind()));
  return value.as_string();
}

const Json* either(const Json& object, std::string_view first, std::string_view second) {
  const Json* found = object.find(first);
  return found ? found : object.find(second);
}

std::string_view role_of(std::string_view spelled) {
  std::vector<std::string> known;
  for (const auto& name : kRoles) {
    if (name.spelled == spelled) return name.role;
    known.emplace_back(name.spelled);
  }
  const auto match = closest_match(spelled, known);
  bad_record(fmt::format("unknown role \"{}\"", spelled), match.empty() ? fmt::format("known roles: {}", joined(known))
                                                                        : fmt::format("did you mean \"{}\"?", match));
}

std::string content_text(const Json& content) {
  if (content.is_string()) return content.as_string();
  if (content.is_null()) return "";
  if (!content.is_array()) {
    bad_record(fmt::format("content: expected a string or a list of text parts, got {}", content.kind()));
  }
  std::string text;
  for (const auto& part : content.as_array()) {
    const Json* type = part.find("type");
    if (!type || !type->is_string() || type->as_string() != "text") {
      bad_record(fmt::format("content: only text parts can be trained, got {}",
                             type && type->is_string() ? '"' + type->as_string() + '"' : std::string(part.kind())));
    }
    const Json* value = either(part, "text", "value");
    if (!value || !value->is_string()) bad_record("content: a text part has no \"text\"");
    text += value->as_string();
  }
  return text;
}

// {"name", "arguments"} or {"function": {"name", "arguments"}, "id"...} -> the latter, with arguments as an object.
Json normalized_call(const Json& call) {
  if (!call.is_object()) bad_record(fmt::format("tool call: expected an object, got {}", call.kind()));
  Json out = call;
  if (!call.find("function")) out = Json::Object{{"type", "function"}, {"function", call}};
  Json& function = out["function"];
  if (!function.is_object())
    bad_record(fmt::format("tool call: function: expected an object, got {}", function.kind()));
  const auto& name = string_member(function, "name");
  if (!function.find("arguments")) function["arguments"] = Json::Object{};
  Json& arguments = function["arguments"];
  if (arguments.is_string()) {
    arguments = with_context(ExitCode::malformed, fmt::format("tool call {}: arguments", name),
                             [&] { return Json::parse(arguments.as_string()); });
  }
  if (!arguments.is_object()) {
    bad_record(fmt::format("tool call {}: arguments: expected an object, got {}", name, arguments.kind()));
  }
  if (!out.find("type")) out["type"] = "function";
  return out;
}

Json::Array normalized_calls(const Json& calls) {
  Json::Array out;
  if (calls.is_array()) {
    for (const auto& call : calls.as_array()) out.push_back(normalized_call(call));
  } else {
    out.push_back(normalized_call(calls));
  }
  return out;
}

Json parsed_if_string(const Json& value, std::string_view what) {
  if (!value.is_string()) return value;
  return with_context(ExitCode::malformed, what, [&] { return Json::parse(value.as_string()); });
}

std::optional<double> weight_of(const Json& message) {
  std::optional<double> weight;
  std::string_view found;
  for (const std::string_view key : {"weight", "loss_weight", "train"}) {
    const Json* value = message.find(key);
    if (!value || value->is_null()) continue;
    if (weight) bad_record(fmt::format("both \"{}\" and \"{}\" say what the message weighs", found, key));
    found = key;
    if (key == "train" && !value->is_bool())
      bad_record(fmt::format("train: expected true or false, got {}", value->kind()));
    if (key != "train" && !value->is_number())
      bad_record(fmt::format("{}: expected a number, got {}", key, value->kind()));
    weight = key == "train" ? (value->as_bool() ? 1.0 : 0.0) : value->as_number();
    if (!std::isfinite(*weight) || *weight < 0) bad_record(fmt::format("{}: expected 0 or more, got {}", key, *weight));
  }
  return weight;
}

Json normalized_message(const Json& message, std::string_view spelled, std::string_view role) {
  const Json* content = either(message, "content", "value");
  const Json* calls = message.find("tool_calls");
  Json out = Json::Object{{"role", Json(role)}};
  if (spelled == kFunctionCall) {
    if (!content) bad_record("the call is missing (\"value\" or \"content\")");
    out["content"] = "";
    out["tool_calls"] = normalized_calls(parsed_if_string(*content, "function_call"));
  } else {
    const bool has_calls = calls && !calls->is_null();
    if (!content && !has_calls) bad_record("the content is missing (\"content\" or \"value\")");
    out["content"] = content ? content_text(*content) : "";
    if (has_calls) out["tool_calls"] = normalized_calls(*calls);
  }
  constexpr std::array<std::string_view, 8> kRead = {"role",   "from",        "content", "value",
                                                     "weight", "loss_weight", "train",   "tool_calls"};
  for (const auto& [key, value] : message.as_object()) {
    if (std::find(kRead.begin(), kRead.end(), key) == kRead.end()) out[key] = value;
  }
  return out;
}

}  // namespace

Json renamed(Json record, const std::map<std::string, std::string>& fields) {
  if (!record.is_object()) return record;
  auto& members = record.as_object();
  for (const auto& [ours, theirs] : fields) {
    const auto named = [](const std::string& name) {
      return [&name](const Json::Member& m) { return m.first == name; };
    };
    if (ours == theirs || !record.find(theirs)) continue;
    std::erase_if(members, named(ours));
    std::find_if(members.begin(), members.end(), named(theirs))->first = ours;
  }
  return record;
}

void append_message(Conversation& conversation, const Json& message, const std::map<std::string, std::string>& fields) {
  with_context(ExitCode::malformed, fmt::format("message {}", conversation.messages.size() + 1), [&] {
    if (!message.is_object()) bad_record(fmt::format("expected an object, got {}", message.kind()));
    const Json ours = fields.empty() ? message : renamed(message, fields);
    const Json* spelled = either(ours, "role", "from");
    if (!spelled) bad_record("the role is missing (\"role\" or \"from\")");
    if (!spelled->is_string()) bad_record(fmt::format("role: expected a string, got {}", spelled->kind()));
    const auto role = role_of(spelled->as_string());
    const auto weight = weight_of(ours);
    if (role != "assistant" && weight.value_or(0) > 0) {
      bad_record(fmt::format("weight {} on a {} message: only what an assistant says is trained", *weight, role),
                 "data.train_on: all trains every token");
    }
    conversation.messages.push_back(normalized_message(ours, spelled->as_string(), role));
    conversation.weights.push_back(role == "assistant" ? weight.value_or(1) : 0);
  });
}

void append_messages(Conversation& conversation, const Json& value, const std::string& role,
                     const std::map<std::string, std::string>& fields) {
  if (value.is_string()) {
    append_message(conversation, Json::Object{{"role", Json(role)}, {"content", value}}, {});
  } else if (value.is_object()) {
    append_message(conversation, value, fields);
  } else if (value.is_array()) {
    for (const auto& message : value.as_array()) append_message(conversation, message, fields);
  } else {
    bad_record(fmt::format("expected a string or messages, got {}", value.kind()));
  }
}

void prepend_system(Conversation& conversation, const std::string& text) {
  for (const auto& message : conversation.messages) {
    if (message.at("role").as_string() == "system") return;
  }
  conversation.messages.insert(conversation.messages.begin(),
                               Json::Object{{"role", "system"}, {"content", Json(text)}});
  conversation.weights.insert(conversation.weights.begin(), 0);
}

Json normalized_tools(const Json& tools) {
  if (tools.is_string() && tools.as_string().find_first_not_of(" \t\r\n") == std::string::npos) return nullptr;
  Json list = parsed_if_string(tools, "tools");
  if (list.is_null()) return nullptr;
  if (!list.is_array()) bad_record(fmt::format("tools: expected a list, got {}", list.kind()));
  if (list.as_array().empty()) return nullptr;
  for (auto& tool : list.as_array()) {
    if (!tool.is_object()) bad_record(fmt::format("tools: expected objects, got {}", tool.kind()));
    if (!tool.find("function") && tool.find("name")) tool = Json::Object{{"type", "function"}, {"function", tool}};
  }
  return list;
}

}  // namespace prentice

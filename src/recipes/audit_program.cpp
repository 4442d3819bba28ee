// `audit`: the first training rows as the model will see them.
#include <fmt/format.h>
#include <unistd.h>

#include "config/read.h"
#include "core/error.h"
#include "core/host.h"
#include "data/audit.h"
#include "recipes/console.h"
#include "recipes/new_tokens.h"
#include "recipes/open.h"
#include "recipes/prepare.h"
#include "recipes/programs.h"
#include "recipes/validate.h"

namespace prentice {

namespace {

Json to_json(const AuditSequence& sequence) {
  Json::Array ids, trained;
  for (const auto& token : sequence.tokens) ids.push_back(token.id), trained.push_back(token.trained);
  const auto& origin = sequence.origin;
  Json::Object object{{"file", origin.file}};
  if (origin.line > 0) object.emplace_back("line", origin.line);
  if (origin.record > 0) object.emplace_back("record", origin.record);
  if (!sequence.side.empty()) object.emplace_back("side", std::string(sequence.side));
  object.emplace_back("ids", std::move(ids));
  object.emplace_back("trained", std::move(trained));
  return object;
}

Json to_json(const Audit& audit) {
  Json::Array sequences;
  for (const auto& sequence : audit.sequences) sequences.push_back(to_json(sequence));
  return Json::Object{{"schema", 1},
                      {"description", audit.description},
                      {"rows", audit.rows},
                      {"tokens", audit.totals.tokens},
                      {"trained_tokens", audit.totals.trained_tokens},
                      {"longest", audit.totals.lengths.max},
                      {"dropped", audit.dropped},
                      {"truncated", audit.truncated},
                      {"warnings", Json::Array(audit.warnings.begin(), audit.warnings.end())},
                      {"sequences", sequences}};
}

template <class Recipe>
void print_audit(const Invocation& invocation) {
  auto recipe = read_recipe<Recipe>(invocation.recipe);
  Opened opened = open_recipe(recipe);
  AdapterSection adapter = adapter_of(recipe);
  take_new_tokens(recipe.model, opened, adapter);
  const EncodeOptions encode{.max_length = recipe.data.max_length.value_or(opened.spec.max_positions),
                             .threads = opened.machine.threads,
                             .use = use_of(recipe)};
  const TrainEvalSets data = load_data(recipe.data, opened.tokenizer, encode, static_cast<uint64_t>(recipe.run.seed));
  const Audit audit = audit_data(data.train, opened.tokenizer, invocation.rows);
  if (invocation.json) {
    fmt::print("{}\n", to_json(audit).dump());
    return;
  }
  fmt::print("{}", render_audit(audit, has_colour(STDOUT_FILENO) ? AuditStyle::colour : AuditStyle::brackets));
  if (const auto line = overlap_warning(data); !line.empty()) fmt::print("warning: {}\n", line);
}

}  // namespace

int audit_recipe(const Invocation& invocation) {
  validate_recipe(invocation.recipe);
  with_kind(invocation.kind, [&]<class R>() {
    if constexpr (kReadsTrain<R>) {
      print_audit<R>(invocation);
    } else {
      fail(ExitCode::usage, "audit: a recipe of kind '" + invocation.kind + "' trains on no data",
           "audit takes a recipe that trains or teaches: sft, dpo, distill, pretrain, teach");
    }
  });
  return 0;
}

}  // namespace prentice

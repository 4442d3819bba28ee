// `audit`: the first training rows as the model will see them.
#include <fmt/format.h>
#include <unistd.h>

#include "artifact/student.h"
#include "config/distill_rules.h"
#include "config/read.h"
#include "config/values.h"
#include "core/error.h"
#include "core/host.h"
#include "data/audit.h"
#include "data/load.h"
#include "distill/stored_teacher.h"
#include "distill/teacher.h"
#include "job/prepare.h"
#include "pages/console.h"
#include "plan/model_checks.h"
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

Json to_json(const Audit& audit, const NewTokens& new_tokens, const std::optional<TaughtRows>& taught) {
  Json::Array sequences;
  Json::Object decided;
  for (const auto& [key, value] : new_tokens.decided) decided.emplace_back(key, value);
  for (const auto& sequence : audit.sequences) sequences.push_back(to_json(sequence));
  Json::Object json{{"schema", 1},
                    {"description", audit.description},
                    {"rows", audit.rows},
                    {"tokens", audit.totals.tokens},
                    {"trained_tokens", audit.totals.trained_tokens},
                    {"longest", audit.totals.lengths.max},
                    {"dropped", audit.dropped},
                    {"truncated", audit.truncated},
                    {"decided", std::move(decided)},
                    {"warnings", Json::Array(audit.warnings.begin(), audit.warnings.end())},
                    {"sequences", sequences}};
  if (taught) json.emplace_back("teacher", to_json(*taught));
  return json;
}

// What a recipe trains on, as the model sees it.
struct ReadData {
  Student model;
  TrainEvalSets sets;
};

template <class Recipe>
ReadData read_data(Recipe recipe) {
  ReadData read{.model = {.opened = open_recipe(recipe)}};
  if constexpr (kTrains<Recipe>) read.model = make_student(recipe, std::move(read.model.opened));
  const Opened& opened = read.model.opened;
  const EncodeOptions encode{.max_length = recipe.data.max_length.value_or(opened.spec.max_positions),
                             .threads = opened.machine.threads,
                             .use = use_of(recipe)};
  read.sets = load_data(recipe.data, opened.tokenizer, encode, static_cast<uint64_t>(recipe.run.seed));
  return read;
}

// The rows before any template or tokenizer sees them. A row that data.prompt builds is checked as raw text, in which
// an answer may not be blank either.
template <class Recipe>
void read_rows(const Recipe& recipe) {
  const DataSection& section = recipe.data;
  const RowMaker maker(section, /*has_chat_template=*/section.prompt.empty(), use_of(recipe));
  Problems problems;
  for (const auto& files : {section.train, section.eval}) {
    if (!files.empty()) load_rows(files, section, maker, /*threads=*/1, problems);
  }
  problems.throw_if_any();
}

template <class Recipe>
void print_audit(const Invocation& invocation) {
  auto recipe = read_recipe<Recipe>(invocation.recipe);
  const auto [model, data] = read_data(recipe);
  const Tokenizer& tokenizer = model.opened.tokenizer;
  std::optional<TaughtRows> taught;
  if constexpr (requires { recipe.distill; }) {
    recipe.trust_store = invocation.trust_store;
    if (names_store(recipe.distill)) {
      taught = open_stored_teacher(recipe, tokenizer, data.train).taught(data.train.encoded);
    }
  }
  const Audit audit = audit_data(data.train, tokenizer, invocation.rows);
  if (invocation.json) {
    fmt::print("{}\n", to_json(audit, model.new_tokens, taught).dump());
    return;
  }
  for (const auto& [key, value] : model.new_tokens.decided) fmt::print("{}: {}\n", key, value);
  fmt::print("{}", render_audit(audit, has_colour(STDOUT_FILENO) ? AuditStyle::colour : AuditStyle::brackets));
  if (taught) fmt::print("{}teacher: {}\n", taught->held < taught->rows ? "warning: " : "", to_text(*taught));
  const char* rows = kTrains<Recipe>                         ? "training rows"
                     : std::is_same_v<Recipe, ImatrixRecipe> ? "calibrated on"
                                                             : "taught";
  if (const auto line = overlap_warning(data, rows); !line.empty()) fmt::print("warning: {}\n", line);
}

// Each step has its own data and, from an earlier one, its own model: one at a time is what a person can read.
[[noreturn]] void refuse_pipeline(const Node& pipeline) {
  std::string files;
  for (const auto& step : expand_steps(pipeline)) {
    if (trains(step.kind)) files += (files.empty() ? "" : ", ") + step.file;
  }
  fail(ExitCode::usage,
       files.empty() ? "audit: no step of this pipeline trains on data"
                     : "audit: the steps of a pipeline are audited by their own files: " + files,
       files.empty() ? ""
                     : "with what the pipeline sets for a step behind its file: prentice audit FILE section.key=value");
}

std::string kinds_with_rows() {
  std::string kinds;
  for_each_kind([&]<class R>(const R&) {
    if constexpr (kReadsTrain<R>) kinds.append(kinds.empty() ? "" : ", ").append(R::kKind);
  });
  return kinds;
}

}  // namespace

std::vector<Diagnostic> audit_mistakes(const Node& recipe, bool with_model) {
  RecipeMistakes mistakes, of_placeholders;
  mistakes.gather(recipe.position(), "", [&] {
    if (with_model) validate_recipe(recipe);
    for_each_kind([&]<class R>(const R&) {
      if constexpr (kReadsTrain<R>) {
        if (R::kKind != recipe_kind(recipe)) return;
        with_model ? void(read_data(read_recipe<R>(recipe)))
                   : read_rows(bind_recipe<R>(recipe, {.check_paths = false}, of_placeholders));
      }
    });
  });
  return mistakes.list();
}

int audit_recipe(const Invocation& invocation) {
  if (invocation.kind == PipelineRecipe::kKind) refuse_pipeline(invocation.recipe);
  validate_recipe(invocation.recipe);
  with_kind(invocation.kind, [&]<class R>() {
    if constexpr (kReadsTrain<R>) {
      print_audit<R>(invocation);
    } else {
      fail(ExitCode::usage, "audit: a recipe of kind '" + invocation.kind + "' trains on no data",
           "audit takes a recipe that trains or teaches: " + kinds_with_rows());
    }
  });
  return 0;
}

}  // namespace prentice

// The kind `teach`: a teacher is run over data once, and what it says is kept as a store that any number of students
// learn from; or its own answers become a data set.
#include "recipes/teach.h"

#include <fmt/format.h>

#include "artifact/describe_run.h"
#include "config/read.h"
#include "core/units.h"
#include "distill/store_key.h"
#include "io/file.h"
#include "io/publish.h"
#include "pages/console.h"
#include "pages/report.h"
#include "plan/model_checks.h"
#include "products/product_files.h"
#include "products/products.h"
#include "recipes/programs.h"
#include "recipes/teach_answers.h"
#include "run/clock.h"
#include "teacher/store.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

struct TaughtStore {
  fs::path path;
  uint64_t rows = 0, samples = 0, bytes = 0;
  double bytes_per_token = 0;
  StoreSummary held;
};

// What was just written is not read through again for its hashes.
TaughtStore look_at(const fs::path& path) {
  const TeacherStore store =
      TeacherStore::open(path, {}, TeacherStore::Unfinished::refuse, TeacherStore::Hashes::trust);
  TaughtStore taught{.path = path,
                     .rows = store.layout().rows,
                     .samples = store.layout().samples,
                     .bytes = static_cast<uint64_t>(size_on_disk(path)),
                     .held = store.summary()};
  taught.bytes_per_token = static_cast<double>(taught.bytes) / static_cast<double>(taught.rows);
  return taught;
}

Json::Object to_json(const TaughtStore& taught) {
  return {{"store", taught.path.string()},
          {"rows", taught.rows},
          {"samples", taught.samples},
          {"bytes", taught.bytes},
          {"bytes_per_token", taught.bytes_per_token},
          {"coverage", taught.held.mass},
          {"entries_per_token", taught.held.entries}};
}

std::vector<std::pair<std::string, std::string>> figures(const TaughtStore& taught) {
  return {{"tokens", fmt::format("{} of {} rows", taught.rows, taught.samples)},
          {"size", fmt::format("{}, {:.1f} bytes a token", human_bytes(static_cast<double>(taught.bytes)),
                               taught.bytes_per_token)},
          {"coverage", fmt::format("{:.3f} % of the teacher's mass in {:.1f} entries a token", 100 * taught.held.mass,
                                   taught.held.entries)}};
}

Report page(const TaughtStore& taught, const PreparedTeach& teach, double seconds, const fs::path& out) {
  const double peak = static_cast<double>(peak_bytes(teach.opened.machine));
  Report report{
      .title = out.filename().string(),
      .subtitle = fmt::format("What {} says about {}.", teach.opened.artifact.address, teach.data.description),
      .headline = figures(taught)};
  report.tables.push_back(
      {.title = "Plan and fact",
       .header = {"", "plan", "fact"},
       .rows = {{"time", human_duration(teach.plan.seconds), human_duration(seconds)},
                {"peak memory", human_bytes(static_cast<double>(teach.plan.memory.peak())), human_bytes(peak)},
                {"disk", human_bytes(static_cast<double>(teach.plan.disk_bytes)),
                 human_bytes(static_cast<double>(taught.bytes))}}});
  ReportTable key{.title = "Bound to", .header = {"", "SHA-256"}, .rows = {}};
  key.rows = {{"teacher", teach.key.teacher},
              {"tokenizer", teach.key.tokenizer},
              {"chat template", teach.key.chat_template},
              {"data", teach.key.data}};
  report.tables.push_back(std::move(key));
  return report;
}

void print_start(const PreparedTeach& teach, const fs::path& store) {
  fmt::print(stderr, "{}\n", teach.data.description);
  fmt::print(stderr, "plan: {} tokens in {} batches, about {}, {} of memory, {} of disk -> {}\n", teach.layout.rows,
             teach.batches.size(), human_duration(teach.plan.seconds),
             human_bytes(static_cast<double>(teach.plan.memory.peak())),
             human_bytes(static_cast<double>(teach.plan.disk_bytes)), store.string());
}

void print_end(const TaughtStore& taught, const fs::path& out, const Invocation& invocation) {
  if (invocation.json) {
    Json::Object result{{"schema", 1}, {"out", out.string()}};
    for (auto& member : to_json(taught)) result.push_back(std::move(member));
    fmt::print("{}\n", Json(std::move(result)).dump());
    return;
  }
  std::FILE* to = invocation.inner ? stderr : stdout;
  for (const auto& [name, value] : figures(taught)) fmt::print(to, "  {:<9} {}\n", name, value);
  if (invocation.inner) return;
  fmt::print("  store     {}\n  next      prentice distill distill.teacher={} ...\n", taught.path.string(),
             taught.path.string());
}

}  // namespace

int run_program(TeachRecipe recipe, const Invocation& invocation) {
  if (recipe.teach.sample.n > 0) return teach_answers(std::move(recipe), invocation);
  const double started = wall_time();
  const auto [machine, hardware] = decide_place(recipe.run, "");
  PreparedTeach teach = prepare_teach(recipe, open_recipe(std::as_const(recipe), machine), hardware);
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  if (folder.begin(describe_run(recipe, teach.opened.artifact, teach.plan.hardware.name, invocation)) ==
      RunState::finished)
    return already_done(folder.path(), invocation);
  if (!teach.plan.fits) refuse_plan(teach.plan);
  const fs::path store = store_path(recipe);
  if (!invocation.quiet) print_start(teach, store);
  print_warnings(recipe.warnings), print_warnings(teach.data.encoded.warnings);
  if (!fs::exists(store / kStoreFile)) require_free_bytes(store, teach.layout.bytes());  // before hashes take minutes

  teach.key.teacher = teacher_sha256(teach.opened, folder.inputs()->get(), recipe.run.seed);
  {
    TeacherStoreWriter writer(store, teach.key, teach.samples, teach.options);
    if (writer.committed_rows() < writer.rows()) {
      const Model teacher = load_weights(teach.opened, static_cast<uint64_t>(recipe.run.seed));
      write_store(teacher, teach, writer, recipe.run.log_every, invocation.quiet || invocation.json);
    }
    writer.finish();
  }
  const TaughtStore taught = look_at(store);
  publish_file(folder.path() / "report.html", to_html(page(taught, teach, wall_time() - started, folder.path())));
  write_checksums(folder.path());
  folder.finish(to_json(taught));
  print_end(taught, folder.path(), invocation);
  return 0;
}

}  // namespace prentice

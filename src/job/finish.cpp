#include "job/finish.h"

#include <fmt/format.h>

#include "adapter/peft.h"
#include "artifact/licences.h"
#include "artifact/stop_tokens.h"
#include "core/units.h"
#include "data/steps.h"
#include "eval/report.h"
#include "eval/score.h"
#include "eval/scored_answers.h"
#include "export/hf_folder.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/publish.h"
#include "job/run_page.h"
#include "model/stored_nf4.h"
#include "pages/console.h"
#include "products/calibration.h"
#include "products/product_records.h"
#include "products/products.h"
#include "products/proof_tokens.h"
#include "products/selftest.h"
#include "proof/merge_difference.h"
#include "quant/encode.h"
#include "run/checkpoint.h"
#include "run/signals.h"
#include "serving/asking.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

FileTexts trained_files(const PreparedRun& run) {
  return own_files(run.opened.artifact, run.opened.spec, run.opened.tokenizer);
}

// The adapter, with the tokenizer where it is not the base's.
void write_adapter(const Model& model, const PreparedRun& run, const fs::path& out, const std::string& dtype,
                   const FileOrigin& origin) {
  save_peft(model, out, run.opened.artifact.base_name, dtype, origin);
  if (!run.new_tokens.own_tokenizer) return;
  write_companions(run.opened.artifact.tokenizer, trained_files(run), out);
}

void publish_adapter(const Model& model, const PreparedRun& run, const ExportSection& section, const fs::path& out,
                     const FileOrigin& origin) {
  TempFolder folder(out / "adapter");
  write_adapter(model, run, folder.path(), section.dtype, origin);
  folder.publish(IfExists::replace);
}

// What export.imatrix names: a file, or data that the trained model is run on.
std::pair<ImportanceMatrix, std::vector<std::string>> importance_of(const Model& model, const PreparedRun& run,
                                                                    const ExportSection& section,
                                                                    const fs::path& kept) {
  const Opened& opened = run.opened;
  return importance_for_export(
      section.imatrix, kept, run.data.eval ? &*run.data.eval : nullptr,
      [&](const DataSection& data) {
        return load_calibration(data, opened.tokenizer, opened.spec, opened.machine.threads);
      },
      [&](const Calibration& calibration) {
        return collect_importance(model, calibration, [](int64_t, int64_t) { throw_if_stopped(kContinues); });
      });
}

constexpr int64_t kComparedTokens = 512;

// Of what was trained on four bits, which merging puts on other weights: how far that is, and on which.
Check compare_merged(const Model& model, const PreparedRun& run, const WeightSource& merged,
                     const HfFolderOptions& options) {
  const bool stored = stored_quantize(run.opened.spec) != Quantize::none;
  const bool own = run.opened.artifact.has_weights() && !stored;
  std::vector<const Sequence*> sequences;
  int64_t tokens = 0;
  for (const auto& sequence : (run.data.eval ? *run.data.eval : run.data.train).encoded.sequences) {
    if (tokens > 0 && tokens + sequence.size() > kComparedTokens) break;
    sequences.push_back(&sequence);
    tokens += sequence.size();
  }
  const MergedForm form{.type = options.type == GgmlType::F32   ? at::kFloat
                                : options.type == GgmlType::F16 ? at::kHalf
                                                                : at::kBFloat16,
                        .nf4 = options.nf4};
  const Batch batch = to_device(collate(sequences, 0), device_of(model));
  return merge_check(merge_difference(with_head_at_hand(model), merged, form, batch),
                     own ? kBaseOwnWeights : "what the four bits that were trained on stand for");
}

// The coarsest type that products of the model in memory read; blocks of a file are served as they are.
std::string computed_in(const Opened& opened) {
  if (opened.quantize != Quantize::none && opened.quantize != Quantize::gguf) return "NF4";
  return opened.machine.dtype == at::kBFloat16 ? "BF16" : opened.machine.dtype == at::kHalf ? "F16" : "F32";
}

Products write_run_products(const Model& model, const PreparedRun& run, ExportSection section,
                            const TrainResult& result, const std::optional<EvalReport>& score, const fs::path& out,
                            const FileOrigin& origin, const std::function<void(const std::string&)>& say) {
  const bool full = run.adapter.kind == AdapterKind::full;
  if (full && section.merged == "none") section.merged = "f32";  // handed over as it was trained
  const ModelSpec alone = decoder_alone(run.opened.spec);
  const bool has_template = run.opened.tokenizer.chat_template().has_value();
  const fs::path adapter = full ? fs::path() : out / "adapter";
  const auto stop_ids = stop_token_ids(run.opened.artifact, run.opened.spec, run.opened.tokenizer);
  std::function<Check(const WeightSource&, const HfFolderOptions&)> compare;
  if (run.opened.quantize != Quantize::none && run.opened.spec.labels == 0) {
    compare = [&](const WeightSource& merged, const HfFolderOptions& options) {
      return compare_merged(model, run, merged, options);
    };
  }
  // From the files just written, where there are some: what is exported is what lies on the disk.
  const bool from_files = !full && run.opened.artifact.has_weights();
  return write_products(
      {.spec = alone,
       .tokenizer = run.opened.tokenizer,
       .compare = compare,
       .weights =
           [&] {
             return from_files ? WeightSource::from_folder(run.opened.spec, run.opened.artifact.base, adapter)
                               : WeightSource::from_model(model);
           },
       .in_memory = !from_files,
       .importance = [&](const fs::path& kept) { return importance_of(model, run, section, kept); },
       .proof_tokens =
           [&](int64_t context) {
             const auto& rows = (run.data.eval ? *run.data.eval : run.data.train).encoded.sequences;
             return proof_batches(rows, run.opened.tokenizer, context, device_of(model));
           },
       .served_type = run.served.empty() ? "" : run.adapter.qat,
       .served_weights = run.served.empty() ? std::nullopt : std::optional(reader_of(model)),
       .companions = run.opened.artifact.tokenizer,
       .own_files = trained_files(run),
       .adapter = adapter,
       .adapted = run.opened.spec,
       .base_model =
           run.opened.artifact.base_name.empty() ? run.opened.artifact.address : run.opened.artifact.base_name,
       .base_file = is_gguf_file(run.opened.artifact.base) ? run.opened.artifact.base : fs::path(),
       .licences = licences_of(run.opened.artifact),
       .origin = origin,
       .stop_ids = stop_ids,
       .raw_text = has_template && !run.data.train.chat,
       .max_length = run.opened.spec.max_positions,
       .self_test =
           [&] {
             if (run.opened.spec.labels > 0) return SelfTest();
             return make_self_test(with_head_at_hand(model), run.data.train, run.opened.tokenizer, stop_ids);
           },
       .computed_in = computed_in(run.opened),
       .training = {{"data", run.data.train.description}, {"steps", std::to_string(result.steps)}},
       .results = results_of(score),
       .say = say},
      section, out);
}

// What run.json tells about the result. A best step that RUN@best can lead to has its checkpoint.
Json::Object run_results(const TrainResult& result, const fs::path& out) {
  Json::Object results = {{"steps", result.steps}, {"last_training_loss", result.last_loss}};
  if (result.best_step && fs::exists(checkpoint_folder(out, *result.best_step)))
    results.emplace_back("best_step", *result.best_step);
  if (!result.selected_by.empty()) results.emplace_back("selected_" + result.selected_by, result.best_metric);
  return results;
}

void print_end(const PreparedRun& run, const TrainResult& result, const std::optional<EvalReport>& score,
               const Products& products, const fs::path& out, const Invocation& invocation) {
  if (invocation.json) {
    Json::Object scores;
    if (score) {
      for (const auto& [metric, value] : metrics(*score)) scores.emplace_back(metric, value);
    }
    const Json json = Json::Object{{"schema", 1},
                                   {"out", out.string()},
                                   {"steps", result.steps},
                                   {"loss", result.last_loss},
                                   {"selected_by", result.selected_by},
                                   {"best_metric", result.best_step ? Json(result.best_metric) : Json()},
                                   {"best_step", result.best_step ? Json(*result.best_step) : Json()},
                                   {"eval", scores},
                                   {"wall_seconds", result.wall_seconds}};
    fmt::print("{}\n", json.dump());
    return;
  }
  if (invocation.inner) return;  // the pipeline tells it at its end
  const auto before = result.first_eval.find("eval.loss"), after = result.last_eval.find("eval.loss");
  if (!result.selected_by.empty()) {
    fmt::print("step {} of {} is selected: {} {:.4g}\n", *result.best_step, result.steps, result.selected_by,
               result.best_metric);
  } else if (before != result.first_eval.end() && after != result.last_eval.end()) {
    fmt::print("held-out loss {:.4g} -> {:.4g}\n", before->second, after->second);
  }
  if (score) {
    for (const auto& line : summary(*score)) fmt::print("{}\n", line);
  }
  fmt::print("Done in {} (plan: {}), peak memory {} (plan: {}); last step's training loss {:.4g}\n",
             human_duration(result.wall_seconds), human_duration(run.plan.seconds),
             human_bytes(static_cast<double>(peak_bytes(run.opened.machine))),
             human_bytes(static_cast<double>(run.plan.memory.peak())), result.last_loss);
  print_products(products, out, invocation);
  fmt::print("  look    {}\n  try     prentice {}\n  serve   {}\n", (out / "report.html").string(),
             asking_words(run.opened.spec, run.opened.tokenizer, out), (out / "serve/serve.md").string());
}

}  // namespace

void save_trained_model(const Model& model, const PreparedRun& run, const fs::path& path) {
  if (run.adapter.kind != AdapterKind::full) return write_adapter(model, run, path, "f32", {});
  write_hf_folder(WeightSource::from_model(model), run.opened.spec, run.opened.artifact.tokenizer, path,
                  {.type = GgmlType::F32, .own_files = trained_files(run)});
}

int finish_run(const Model& model, const PreparedRun& run, const ExportSection& exports, const EvalSection& eval,
               const Validation& validation, const TrainResult& result, RunFolder& folder,
               const Invocation& invocation) {
  const fs::path& out = folder.path();
  const FileOrigin origin = folder.origin();
  if (run.adapter.kind != AdapterKind::full) publish_adapter(model, run, exports, out, origin);
  std::optional<EvalReport> score;
  if (validation.has_data() && (!eval.tasks.empty() || !eval.require.empty())) {
    score = validation.score();
    throw_if_stopped(kContinues);
    score->model = out.string();
    score->data = scored_files(*run.data.eval, eval);
    publish_file(out / "eval.json", to_json(*score).dump(1) + "\n");
    if (const std::string answers = scored_answers_jsonl(*score, *run.data.eval); !answers.empty()) {
      publish_file(out / kScoredAnswersFile, answers);
    }
  }
  throw_if_stopped(kContinues);
  const Products products =
      write_run_products(model, run, exports, result, score, out, origin, say_on_stderr(invocation));
  publish_file(out / "report.html", to_html(run_page(run, result, score, folder)));
  write_checksums(out, products.hashes);
  folder.finish(run_results(result, out));
  forget_products(out);
  print_end(run, result, score, products, out, invocation);
  return score ? tell_gates(*score) : 0;
}

}  // namespace prentice

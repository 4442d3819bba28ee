#include "plan/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "artifact/open.h"
#include "core/error.h"
#include "core/units.h"
#include "eval/score.h"
#include "export/gguf_model.h"
#include "export/hf_folder.h"
#include "model/stored_nf4.h"
#include "proof/logit_proof.h"
#include "serving/serving.h"

namespace prentice {

namespace {

// An export reads, joins and writes blocks of rows, whatever the size of the tensors: it is the program that counts
// (measured, experiments/plan), with its proof the libraries, too.
constexpr int64_t kExportBytes = int64_t{32} << 20, kProvenBytes = int64_t{44} << 20;

// A weight in four bits is whole when it is written: as it is made, and as the file has it.
int64_t four_bits_bytes(const ExportSection& section, const ModelSpec& spec) {
  if (section.merged != "nf4") return 0;
  const auto quantized = nf4_weights(spec);
  int64_t most = 0;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    if (quantized.contains(name)) most = std::max(most, 2 * nf4_bytes(shape[0], shape[1], true));
  }
  return most;
}

Json to_json(const LengthStats& lengths) {
  return Json::Object{{"p50", lengths.p50}, {"p95", lengths.p95}, {"max", lengths.max}};
}

std::string to_text(const LengthStats& lengths) {
  return lengths.max == 0 ? "none" : fmt::format("p50 {}, p95 {}, max {}", lengths.p50, lengths.p95, lengths.max);
}

int64_t merged_bytes(const ExportSection& section, const StepShape& shape) {
  if (section.merged == "none") return shape.full() ? shape.parameters * 4 : 0;
  const ModelSpec spec = decoder_alone(shape.spec);
  return static_cast<int64_t>(hf_folder_bytes(spec, merged_options(spec, section.merged)));
}

int64_t gguf_bytes(const ExportSection& section, const StepShape& shape) {
  uint64_t bytes = 0;
  for (const auto& type : section.gguf)
    bytes +=
        gguf_model_bytes(decoder_alone(shape.spec), file_type_named(type), section.types, !section.imatrix.empty());
  return static_cast<int64_t>(bytes);
}

}  // namespace

int64_t product_bytes(const ExportSection& section, const StepShape& shape) {
  return merged_bytes(section, shape) + gguf_bytes(section, shape);
}

int64_t proof_bytes(const ExportSection& section, const StepShape& shape, bool is_full) {
  const bool hands_over = is_full || section.merged != "none" || !section.gguf.empty();
  if (!section.verify || shape.spec.labels > 0 || !hands_over) return 0;
  return verification_bytes(shape.spec, shape.is_gpu ? kProofTokensGpu : kProofTokensCpu, shape.is_gpu);
}

MemoryByPhase run_memory(const StepShape& shape, const ExportSection& section) {
  MemoryByPhase memory = step_memory(shape);
  if (const int64_t proof = proof_bytes(section, shape, shape.full()); proof > 0) memory.verify = memory.load + proof;
  return memory;
}

double warmup_steps(const OptimSection& optim, int64_t steps) {
  const auto all = static_cast<double>(steps);
  if (!optim.warmup) return std::max(5.0, std::ceil(0.03 * all));
  return *optim.warmup < 1 ? std::ceil(*optim.warmup * all) : *optim.warmup;
}

Plan scoring_plan(StepShape shape, const Hardware& hardware) {
  if (shape.micro_tokens == 0) shape.micro_tokens = kEvalMicroTokens;
  const MemoryByPhase memory = step_memory(shape);
  Plan plan{.hardware = hardware, .memory = {.load = memory.load, .eval = memory.eval}};
  plan.fits = plan.memory.peak() <= hardware.memory_bytes;
  plan.host_peak_bytes = hardware.is_gpu ? kGpuHostBytes : plan.memory.peak();
  return plan;
}

Plan export_plan(const StepShape& shape, const ExportSection& section, const Hardware& hardware) {
  int64_t proof = proof_bytes(section, shape, false);
  if (proof == 0 && section.verify && shape.spec.labels == 0)  // an adapter alone is run for its self-test
    proof = verification_bytes(shape.spec, kSelfTestTokens, shape.is_gpu);
  Plan plan{.disk_bytes = product_bytes(section, shape),
            .hardware = hardware,
            .memory = {.export_ = kExportBytes + four_bits_bytes(section, shape.spec),
                       .verify = proof > 0 ? proof + (hardware.is_gpu ? kGpuContextBytes : kProvenBytes) : 0}};
  plan.fits = plan.memory.peak() <= hardware.memory_bytes;
  plan.host_peak_bytes = hardware.is_gpu ? kGpuHostBytes : plan.memory.peak();
  return plan;
}

void refuse_plan(const Plan& plan) {
  fail(ExitCode::memory,
       fmt::format("the plan does not fit: {} are needed at the peak, {} has {}",
                   human_bytes(static_cast<double>(plan.memory.peak())), plan.hardware.name,
                   human_bytes(static_cast<double>(plan.hardware.memory_bytes))),
       plan.advice);
}

Json to_json(const Plan& plan) {
  Json::Object decided;
  for (const auto& [key, value] : plan.decided) decided.emplace_back(key, value);
  Json::Object memory;
  for (const auto& [phase, bytes] : plan.memory.phases()) memory.emplace_back(std::string(phase), bytes);
  memory.emplace_back("peak", plan.memory.peak());
  Json::Object json{
      {"schema", 1},
      {"fits", plan.fits},
      {"steps", plan.steps},
      {"tokens_per_step", plan.tokens_per_step},
      {"trained_tokens", static_cast<int64_t>(std::llround(plan.trained_tokens))},
      {"seconds", plan.seconds},
      {"cost", Json::Object{{"amount", plan.cost}, {"currency", plan.hardware.currency}}},
      {"disk_bytes", plan.disk_bytes},
      {"host_peak_bytes", plan.host_peak_bytes},
      {"device", Json::Object{{"name", plan.hardware.name}, {"bytes", plan.hardware.memory_bytes}}},
      {"memory", memory},
      {"decided", decided},
  };
  if (!plan.nearest.empty()) {
    Json::Array words;
    for (const auto& word : plan.nearest) words.emplace_back(word);
    json.emplace_back("nearest", Json::Object{{"words", std::move(words)}, {"peak", plan.nearest_peak}});
  }
  if (plan.taught) json.emplace_back("teacher", to_json(*plan.taught));
  if (plan.pairs) {
    json.emplace_back(
        "pairs", Json::Object{{"chosen", to_json(plan.pairs->chosen)}, {"rejected", to_json(plan.pairs->rejected)}});
  }
  if (!plan.reference.empty()) json.emplace_back("reference", plan.reference);
  return json;
}

std::string to_text(const Plan& plan) {
  const MemoryByPhase& memory = plan.memory;
  std::string text = fmt::format("device      {}, {}\n", plan.hardware.name, human_bytes(plan.hardware.memory_bytes));
  if (plan.steps > 0) {
    text += fmt::format("steps       {} of {} tokens on average; {} trained tokens in all\n", plan.steps,
                        human_count(plan.tokens_per_step), human_count(plan.trained_tokens));
  }
  if (plan.steps > 0 || plan.seconds > 0) {
    text += fmt::format("time        {}{}\n", plan.seconds < 1 ? "under 1 s" : "about " + human_duration(plan.seconds),
                        plan.cost > 0 ? fmt::format(", {:.2f} {}", plan.cost, plan.hardware.currency) : "");
  }
  std::string by_phase;
  for (const auto& [phase, bytes] : memory.phases()) {
    if (bytes > 0) by_phase += fmt::format("{}{} {}", by_phase.empty() ? "" : ", ", phase, human_bytes(bytes));
  }
  text += fmt::format("memory      {} at the peak: {}\n", human_bytes(memory.peak()), by_phase);
  if (plan.hardware.is_gpu) text += fmt::format("host        {} of memory\n", human_bytes(plan.host_peak_bytes));
  if (plan.disk_bytes > 0) text += fmt::format("disk        {}\n", human_bytes(plan.disk_bytes));
  if (plan.taught) text += fmt::format("teacher     {}\n", to_text(*plan.taught));
  if (plan.pairs) {
    text += fmt::format("answers     tokens with the prompt: chosen {}; rejected {}\n", to_text(plan.pairs->chosen),
                        to_text(plan.pairs->rejected));
  }
  if (!plan.reference.empty()) text += fmt::format("reference   {}\n", plan.reference);
  text += plan.fits ? "fits        yes\n" : "fits        NO\n";
  if (!plan.advice.empty()) text += fmt::format("            {}\n", plan.advice);
  text += "decided     ";
  for (size_t i = 0; i < plan.decided.size(); ++i) {
    text += fmt::format("{}{}={}", i == 0 ? "" : "  ", plan.decided[i].first, plan.decided[i].second);
  }
  return text + "\n";
}

}  // namespace prentice

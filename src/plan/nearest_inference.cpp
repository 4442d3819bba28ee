#include "plan/nearest_inference.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include "artifact/machine.h"
#include "io/gguf.h"
#include "model/stored_nf4.h"
#include "plan/nearest_fit.h"

namespace prentice {

namespace {

struct Tried {
  Inference how;
  std::vector<std::string> words;
  Plan plan;

  int64_t missing() const { return plan.memory.peak() - how.hardware.memory_bytes; }
};

// `made`: a bit for each of the changes. Those that change most come first: the place decides the precision there.
Tried with(size_t made, const Change* shorter, const Inference& from, const InferenceChanges& may,
           const PlanInference& plan_of) {
  Tried tried{.how = from};
  if (shorter) shorter->make(tried.how);
  for (size_t i = may.all.size(); i-- > 0;) {
    if (made >> i & 1) may.all[i].make(tried.how);
  }
  const auto tell = [&](const Change& change) {
    tried.words.insert(tried.words.end(), change.words.begin(), change.words.end());
  };
  for (size_t i = 0; i < may.all.size(); ++i) {
    if (made >> i & 1) tell(may.all[i]);
  }
  if (shorter) tell(*shorter);
  tried.plan = plan_of(tried.how);
  return tried;
}

std::pair<std::string_view, int64_t> largest_part(const Tried& tried) {
  const MemoryByPhase& memory = tried.plan.memory;
  const int64_t context = tried.how.shape.is_gpu ? kGpuContextBytes : kCpuContextBytes;
  if (memory.peak() == memory.verify) return {"the proof, a layer and logits in f32", memory.verify - context};
  if (memory.peak() == memory.export_) return {"the program", memory.export_};
  return std::max({std::pair<std::string_view, int64_t>{"the model's weights", memory.load - context},
                   {"a pass over its tokens", memory.eval - memory.load},
                   {"libraries", context}},
                  [](const auto& a, const auto& b) { return a.second < b.second; });
}

// The CPU of this machine, with what is decided there; none where the plan is another machine's.
template <class R>
std::optional<Place> host_for(const R& recipe) {
  if constexpr (requires { recipe.plan; }) {
    if (!recipe.plan.hardware.empty()) return {};
  }
  RunSection run = recipe.run;
  run.device = "cpu";
  if (!recipe.has("run.precision")) run.precision.reset();
  if (!recipe.has("run.threads")) run.threads.reset();
  return decide_place(run, "");
}

bool own_values(const Inference& how, const Artifact& artifact) {
  return how.shape.quantize == Quantize::none && !is_gguf_file(artifact.base) &&
         stored_quantize(how.shape.spec) == Quantize::none;
}

}  // namespace

template <class R>
InferenceChanges changes_left(const R& recipe, const Inference& from, const Artifact* artifact) {
  InferenceChanges may;
  const auto host = from.shape.is_gpu ? host_for(recipe) : std::nullopt;
  const bool is_rounded = artifact && !artifact->served_type.empty();  // the file's rounding, which none may go before
  const bool halves = from.shape.dtype == c10::kFloat || (host && host->machine.dtype == c10::kFloat);
  if (!std::is_same_v<R, VerifyRecipe> && halves && !is_rounded)
    may.all.push_back({{"run.precision=bf16"}, [](Inference& how) { how.shape.dtype = c10::kBFloat16; }});
  if (std::is_same_v<R, ExportRecipe> && from.verify)
    may.all.push_back({{"export.verify=false"}, [](Inference& how) { how.verify = false; }});
  if (!std::is_same_v<R, ExportRecipe> && artifact && !is_rounded && own_values(from, *artifact))
    may.all.push_back({{"model.quantize=nf4"}, [](Inference& how) { how.shape.quantize = Quantize::nf4; }});
  if (host)  // last: what comes out is the same, after many times as long
    may.all.push_back({{"run.device=cpu"}, [host = *host](Inference& how) {
                         how.hardware = host.hardware;
                         how.shape.is_gpu = false, how.shape.dtype = host.machine.dtype;
                       }});
  return may;
}

#define PRENTICE_CHANGES(R) template InferenceChanges changes_left<R>(const R&, const Inference&, const Artifact*);
PRENTICE_CHANGES(EvalRecipe)
PRENTICE_CHANGES(TeachRecipe)
PRENTICE_CHANGES(ImatrixRecipe)
PRENTICE_CHANGES(ExportRecipe)
PRENTICE_CHANGES(GenerateRecipe)
PRENTICE_CHANGES(CompareRecipe)
PRENTICE_CHANGES(VerifyRecipe)
#undef PRENTICE_CHANGES

void name_nearest(Plan& plan, const Inference& from, const InferenceChanges& may, const PlanInference& plan_of) {
  if (plan.fits) return;
  Tried least{.how = from, .plan = plan};
  const size_t sets = size_t{1} << may.all.size();  // a set comes behind all of its parts
  for (size_t rows = 0; rows <= may.shorter.size(); ++rows) {
    for (size_t made = rows == 0 ? 1 : 0; made < sets; ++made) {
      Tried tried = with(made, rows == 0 ? nullptr : &may.shorter[rows - 1], from, may, plan_of);
      if (tried.plan.fits) {
        plan.nearest = tried.words, plan.nearest_peak = tried.plan.memory.peak();
        plan.advice = would_do(plan.nearest, plan.nearest_peak);
        return;
      }
      if (tried.missing() < least.missing()) least = std::move(tried);
    }
  }
  plan.advice = not_enough(least.words, least.plan.memory, largest_part(least));
}

}  // namespace prentice

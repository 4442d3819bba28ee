#include "plan/nearest_inference.h"

#include <gtest/gtest.h>

#include "artifact/open.h"

namespace prentice {
namespace {

using Words = std::vector<std::string>;

Plan plan_of(const Inference& how) { return scoring_plan(how.shape, how.hardware); }

Inference llama_8b(c10::ScalarType dtype, bool is_gpu) {
  const ModelSpec spec = open_shape({.path = "llama-3.1-8b"}).spec;
  const Hardware hardware{.name = "made up", .is_gpu = is_gpu, .memory_bytes = int64_t{1} << 50};
  return {.shape = step_shape(spec, {.dtype = dtype}, hardware), .hardware = hardware};
}

int64_t peak(Inference how, Quantize quantize) {
  how.shape.quantize = quantize;
  return plan_of(how).memory.peak();
}

template <class R>
Plan nearest(Inference how, int64_t memory, const Artifact* artifact) {
  how.hardware.memory_bytes = memory;
  Plan plan = plan_of(how);
  R recipe;
  if constexpr (requires { recipe.plan; }) recipe.plan.hardware = "another machine";
  name_nearest(plan, how, changes_left(recipe, how, artifact), plan_of);
  return plan;
}

TEST(NearestInference, ChangesAsLittleAsFits) {
  const Artifact folder;
  const Inference whole = llama_8b(c10::kFloat, false), half = llama_8b(c10::kBFloat16, false);
  const int64_t in_f32 = peak(whole, Quantize::none), in_bf16 = peak(half, Quantize::none);
  const int64_t in_nf4 = peak(whole, Quantize::nf4), both = peak(half, Quantize::nf4);
  // Weights of the layers in 4 bits and an eighth of one a value, the embedding and the head as they were.
  ASSERT_TRUE(both < in_nf4 && in_nf4 < in_bf16 && in_bf16 < in_f32);
  const Words bf16 = {"run.precision=bf16"}, nf4 = {"model.quantize=nf4"},
              all = {"run.precision=bf16", "model.quantize=nf4"};
  EXPECT_TRUE(nearest<EvalRecipe>(whole, in_f32, &folder).nearest.empty());
  EXPECT_EQ(nearest<EvalRecipe>(whole, in_f32 - 1, &folder).nearest, bf16);
  EXPECT_EQ(nearest<EvalRecipe>(whole, in_bf16, &folder).nearest, bf16);
  EXPECT_EQ(nearest<EvalRecipe>(whole, in_bf16 - 1, &folder).nearest, nf4);
  EXPECT_EQ(nearest<EvalRecipe>(whole, in_nf4 - 1, &folder).nearest, all);
  EXPECT_EQ(nearest<EvalRecipe>(whole, both, &folder).nearest_peak, both);
  EXPECT_TRUE(nearest<EvalRecipe>(whole, both - 1, &folder).nearest.empty());
  EXPECT_EQ(nearest<EvalRecipe>(half, in_bf16 - 1, &folder).nearest, nf4);
}

TEST(NearestInference, OnlyWhatTheKindAndItsModelAllow) {
  const Artifact folder, rounded{.served_type = "Q4_K_M"};
  const Inference whole = llama_8b(c10::kFloat, false), half = llama_8b(c10::kBFloat16, false);
  const int64_t less = peak(half, Quantize::none) - 1, bf16 = less + 1;
  EXPECT_TRUE(nearest<EvalRecipe>(whole, bf16, &rounded).nearest.empty()) << "halves would round before the file does";
  EXPECT_TRUE(nearest<EvalRecipe>(whole, less, &rounded).nearest.empty());
  EXPECT_EQ(nearest<CompareRecipe>(whole, bf16, nullptr).nearest, Words{"run.precision=bf16"});
  EXPECT_TRUE(nearest<CompareRecipe>(whole, less, nullptr).nearest.empty()) << "it has no model.quantize";
  EXPECT_TRUE(nearest<ExportRecipe>(half, less, &folder).nearest.empty()) << "nor has this";
}

TEST(NearestInference, TheCpuOfAGpuMachineComesLast) {
  const Artifact folder;
  Inference how = llama_8b(c10::kBFloat16, true);
  const Words cpu = {"run.device=cpu"};
  const auto on_host = [](Inference& changed) { changed.hardware.memory_bytes = int64_t{1} << 50; };
  InferenceChanges may{
      .all = {{{"model.quantize=nf4"}, [](Inference& changed) { changed.shape.quantize = Quantize::nf4; }},
              {cpu, on_host}}};
  const auto words_in = [&](int64_t memory) {
    how.hardware.memory_bytes = memory;
    Plan plan = plan_of(how);
    name_nearest(plan, how, may, plan_of);
    return plan.nearest;
  };
  EXPECT_EQ(words_in(peak(how, Quantize::nf4)), Words{"model.quantize=nf4"});
  EXPECT_EQ(words_in(peak(how, Quantize::nf4) - 1), cpu);
  for (const auto& change : changes_left(EvalRecipe(), how, &folder).all)
    if (change.words == cpu) change.make(how);
  EXPECT_FALSE(how.shape.is_gpu || how.hardware.is_gpu);
  EXPECT_EQ(how.shape.dtype, c10::kFloat) << "as a CPU decides where the recipe does not";
  EvalRecipe elsewhere;
  elsewhere.plan.hardware = "rtx4080-16gb";
  for (const auto& change : changes_left(elsewhere, llama_8b(c10::kBFloat16, true), &folder).all)
    EXPECT_NE(change.words, cpu) << "that machine's host is not known";
}

TEST(NearestInference, WhatNothingMakesFitIsNamed) {
  const Artifact folder;
  const Plan plan = nearest<EvalRecipe>(llama_8b(c10::kBFloat16, true), int64_t{4} << 30, &folder);
  EXPECT_TRUE(plan.nearest.empty());
  EXPECT_NE(plan.advice.find("no change of the recipe is enough: with model.quantize=nf4"), std::string::npos)
      << plan.advice;
  EXPECT_NE(plan.advice.find("of it for the model's weights"), std::string::npos) << plan.advice;
}

}  // namespace
}  // namespace prentice

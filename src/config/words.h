// How the values of each enumeration are spelled in a recipe. One table each: reading, help, the JSON schema and the
// resolved recipe use it. A word marked `later` is known to the contract and refused as "not in this version".
#pragma once

#include <string_view>

#include "config/schema.h"

namespace prentice {

struct Choice {
  std::string_view word;
  bool later = false;
};

template <class E>
struct Word {
  E value;
  std::string_view word;
  bool later = false;
};

inline constexpr bool kLater = true;

template <class E>
struct Words;

template <>
struct Words<Precision> {
  static constexpr Word<Precision> table[] = {
      {Precision::f32, "f32"},
      {Precision::bf16, "bf16"},
  };
};

template <>
struct Words<AdapterKind> {
  static constexpr Word<AdapterKind> table[] = {
      {AdapterKind::lora, "lora"},
      {AdapterKind::full, "full"},
      {AdapterKind::dora, "dora"},
  };
};

template <>
struct Words<DataFormat> {
  static constexpr Word<DataFormat> table[] = {
      {DataFormat::automatic, "auto"},        {DataFormat::messages, "messages"},
      {DataFormat::sharegpt, "sharegpt"},     {DataFormat::alpaca, "alpaca"},
      {DataFormat::completion, "completion"}, {DataFormat::text, "text"},
      {DataFormat::preference, "preference"}, {DataFormat::labels, "labels"},
  };
};

template <>
struct Words<ChatMode> {
  static constexpr Word<ChatMode> table[] = {
      {ChatMode::automatic, "auto"},
      {ChatMode::on, "on"},
      {ChatMode::off, "off"},
  };
};

template <>
struct Words<TrainOn> {
  static constexpr Word<TrainOn> table[] = {
      {TrainOn::assistant, "assistant"},
      {TrainOn::last, "last"},
      {TrainOn::completion, "completion"},
      {TrainOn::all, "all"},
  };
};

template <>
struct Words<Overlong> {
  static constexpr Word<Overlong> table[] = {
      {Overlong::automatic, "auto"},    {Overlong::error, "error"}, {Overlong::drop, "drop"},
      {Overlong::truncate, "truncate"}, {Overlong::split, "split"},
  };
};

template <>
struct Words<EosMode> {
  static constexpr Word<EosMode> table[] = {
      {EosMode::automatic, "auto"},
      {EosMode::on, "on"},
      {EosMode::off, "off"},
  };
};

template <>
struct Words<Recompute> {
  static constexpr Word<Recompute> table[] = {
      {Recompute::none, "none"},
      {Recompute::selective, "selective"},
      {Recompute::block, "block"},
  };
};

template <>
struct Words<OptimizerName> {
  static constexpr Word<OptimizerName> table[] = {
      {OptimizerName::adamw, "adamw"},
      {OptimizerName::sgd, "sgd"},
      {OptimizerName::lion, "lion"},
      {OptimizerName::adamw8bit, "adamw8bit"},
  };
};

template <>
struct Words<Schedule> {
  static constexpr Word<Schedule> table[] = {
      {Schedule::cosine, "cosine"},
      {Schedule::linear, "linear"},
      {Schedule::constant, "constant"},
      {Schedule::wsd, "wsd"},
  };
};

template <>
struct Words<PreferenceLoss> {
  static constexpr Word<PreferenceLoss> table[] = {
      {PreferenceLoss::sigmoid, "sigmoid"}, {PreferenceLoss::ipo, "ipo"},     {PreferenceLoss::hinge, "hinge"},
      {PreferenceLoss::robust, "robust"},   {PreferenceLoss::cdpo, "cdpo"},   {PreferenceLoss::kto, "kto"},
      {PreferenceLoss::orpo, "orpo"},       {PreferenceLoss::simpo, "simpo"}, {PreferenceLoss::cpo, "cpo"},
  };
};

template <>
struct Words<DistillLoss> {
  static constexpr Word<DistillLoss> table[] = {
      {DistillLoss::forward_kl, "forward_kl"},
      {DistillLoss::reverse_kl, "reverse_kl"},
      {DistillLoss::jsd, "jsd"},
      {DistillLoss::tvd, "tvd"},
      {DistillLoss::ce, "ce"},
      {DistillLoss::hidden_mse, "hidden_mse"},
      {DistillLoss::uld, "uld"},
      {DistillLoss::hidden_cosine, "hidden_cosine"},
  };
};

template <>
struct Words<TeacherTail> {
  static constexpr Word<TeacherTail> table[] = {
      {TeacherTail::event, "event"},
      {TeacherTail::renormalize, "renormalize"},
  };
};

template <>
struct Words<Normalize> {
  static constexpr Word<Normalize> table[] = {
      {Normalize::none, "none"},
      {Normalize::tokens, "tokens"},
      {Normalize::bytes, "bytes"},
  };
};

template <>
struct Words<Select> {
  static constexpr Word<Select> table[] = {
      {Select::last, "last"},
      {Select::eval_loss, "eval.loss"},
      {Select::eval_accuracy, "eval.accuracy"},
  };
};

// The word of a value: every value has one.
template <class E>
std::string_view word_of(E value) {
  for (const auto& entry : Words<E>::table) {
    if (entry.value == value) return entry.word;
  }
  return {};
}

// Words of keys whose values are texts rather than enumerations.
inline constexpr Choice kModelInit[] = {{"weights"}, {"random"}};
inline constexpr Choice kQuantize[] = {{"none"}, {"nf4"}, {"nf4-single"}};
inline constexpr Choice kAdapterInit[] = {{"default"}, {"gaussian"}, {"pissa"}};
inline constexpr Choice kReference[] = {{"start"}, {"precomputed"}};
// Files that export.gguf writes, and none. Q3_K, Q4_K and Q5_K are their middle sizes, as llama-quantize reads them.
inline constexpr Choice kQat[] = {{"none"},   {"F16"},    {"BF16"},   {"Q8_0"}, {"Q6_K"},   {"Q5_K_M"},
                                  {"Q5_K_S"}, {"Q4_K_M"}, {"Q4_K_S"}, {"Q4_0"}, {"Q3_K_L"}, {"Q3_K_M"},
                                  {"Q3_K_S"}, {"Q2_K"},   {"Q5_K"},   {"Q4_K"}, {"Q3_K"}};
inline constexpr Choice kStoreValues[] = {{"q8"}, {"f16"}, {"f32"}};
inline constexpr Choice kMaster[] = {{"auto"}, {"stochastic", kLater}};
inline constexpr Choice kTasks[] = {
    {"loss"},        {"choice"},           {"exact"},        {"preference"}, {"json", kLater},
    {"sql", kLater}, {"grounded", kLater}, {"rouge", kLater}};
inline constexpr Choice kCompared[] = {
    {"auto"}, {"loss"}, {"accuracy"}, {"choice.accuracy"}, {"exact.accuracy"}, {"preference.accuracy"}};
inline constexpr Choice kMerged[] = {{"none"}, {"f32"}, {"bf16"}, {"f16"}, {"nf4"}};
inline constexpr Choice kAdapterDtype[] = {{"f32"}, {"bf16"}, {"f16"}};
inline constexpr Choice kGgufAdapter[] = {{"none"}, {"F32"}, {"F16"}, {"BF16"}, {"Q8_0"}, {"true"}, {"false"}};
// Files, and the types that single tensors of theirs may have.
inline constexpr Choice kGguf[] = {{"F32"},    {"F16"},    {"BF16"}, {"Q8_0"},   {"Q6_K"},   {"Q5_K_M"}, {"Q5_K_S"},
                                   {"Q4_K_M"}, {"Q4_K_S"}, {"Q4_0"}, {"Q3_K_L"}, {"Q3_K_M"}, {"Q3_K_S"}, {"Q2_K"}};
// Types that limits of a verification may name: files as others write them, and folders in four bits.
inline constexpr Choice kLimited[] = {{"F32"},    {"F16"},    {"BF16"},   {"Q8_0"},   {"Q6_K"}, {"Q5_K_M"},
                                      {"Q5_K_S"}, {"Q5_1"},   {"Q5_0"},   {"Q4_1"},   {"Q4_0"}, {"Q4_K_M"},
                                      {"Q4_K_S"}, {"Q3_K_L"}, {"Q3_K_M"}, {"Q3_K_S"}, {"Q2_K"}, {"NF4"}};
inline constexpr Choice kGgufTensor[] = {{"F32"},  {"F16"},  {"BF16"}, {"Q8_0"}, {"Q6_K"}, {"Q5_K"}, {"Q4_K"},
                                         {"Q3_K"}, {"Q2_K"}, {"Q5_1"}, {"Q5_0"}, {"Q4_1"}, {"Q4_0"}};

}  // namespace prentice

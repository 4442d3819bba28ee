#include "config/distill_rules.h"

#include <fmt/format.h>

#include <filesystem>

#include "config/words.h"

namespace prentice {

namespace {

void check_store(Checker& c, const DistillSection& distill) {
  const std::string what = fmt::format("{} is a store of log-probabilities", distill.teacher);
  if (compares_states(distill.loss) || distill.loss == DistillLoss::uld) {
    c.mistake("distill.loss", fmt::format("{} needs the teacher itself, and {}", word_of(distill.loss), what),
              "name the model that wrote it, or use a divergence: forward_kl, reverse_kl, jsd, tvd, ce");
  }
  if (distill.on_policy > 0) {
    c.mistake("distill.on_policy", "what the student samples only a live teacher can score, and " + what,
              "name the model that wrote it");
  }
  c.without_effect({"distill.teacher_device"}, "with a store");
}

void check_hidden(Checker& c, const DistillSection& distill, const std::string& with) {
  c.without_effect({"distill.temperature", "distill.top_k", "distill.tail"}, with);
  for (const auto& [layer, of_teacher] : distill.layer_map) {
    if (parse_integer(layer).value_or(-1) >= 0) continue;
    c.mistake({.key = "distill.layer_map",
               .word = layer,
               .message = fmt::format("expected the number of a layer of the student, got '{}'", layer),
               .hint = "from 0, for instance {3: 7, 7: 15}"});
  }
}

void check_sampling(Checker& c, const DistillRecipe& recipe) {
  const DistillSection& distill = recipe.distill;
  if (distill.on_policy == 0) {
    return c.without_effect({"distill.max_new_tokens"}, "without distill.on_policy");
  }
  if (distill.loss == DistillLoss::uld) {
    c.mistake("distill.on_policy", "uld compares given texts, which each model reads in its own tokens",
              "use a teacher of the same vocabulary");
  }
  if (distill.on_policy == 1 && *distill.weight < 1) {
    c.mistake(c.has("distill.weight") ? "distill.weight" : "distill.on_policy",
              "with distill.on_policy: 1 no example keeps its labels, and there is no cross-entropy to mix with",
              "remove the key");
  }
}

}  // namespace

bool compares_states(DistillLoss loss) { return loss == DistillLoss::hidden_mse || loss == DistillLoss::hidden_cosine; }

bool names_store(const DistillSection& section) {
  const auto holds = [&](const char* file) {
    std::error_code error;
    return std::filesystem::is_regular_file(section.teacher + file, error);
  };
  return !section.teacher.empty() && (holds("/store.json") || holds("/samples.h5"));
}

void check_distill(Checker& c, const DistillRecipe& recipe) {
  const DistillSection& distill = recipe.distill;
  const std::string with = fmt::format("with distill.loss: {}", word_of(distill.loss));
  if (distill.teacher.empty()) {
    c.mistake("distill.teacher", "is missing: a teacher is needed", "for instance distill.teacher=/models/my-model");
  }
  if (names_store(distill)) check_store(c, distill);
  if (distill.loss != DistillLoss::jsd) c.without_effect({"distill.beta"}, with, "it is of jsd");
  if (compares_states(distill.loss)) {
    check_hidden(c, distill, with);
  } else {
    c.without_effect({"distill.layer_map"}, with, "it is of hidden_mse and hidden_cosine");
    if (distill.loss == DistillLoss::uld) {
      c.without_effect({"distill.top_k", "distill.tail"}, with);
    } else if (!distill.top_k && !names_store(distill) && distill.tail == TeacherTail::renormalize) {
      c.mistake("distill.tail", "has no effect where the teacher's whole vocabulary is compared",
                "remove the key, or set distill.top_k");
    }
  }
  check_sampling(c, recipe);
  if (distill.teacher_device && !is_device(*distill.teacher_device)) {
    c.mistake("distill.teacher_device", "expected auto, cpu, cuda or cuda:N, got " + *distill.teacher_device);
  }
}

}  // namespace prentice

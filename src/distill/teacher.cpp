#include "distill/teacher.h"

#include <fmt/format.h>

#include "artifact/vocabulary.h"
#include "config/address.h"
#include "config/distill_rules.h"
#include "core/error.h"
#include "distill/distill_states.h"
#include "distill/store_key.h"

namespace prentice {

namespace {

constexpr const char* kTeacherKey = "distill.teacher";

Machine machine_of(const DistillRecipe& recipe, const Machine& of_student, RunUse use) {
  Machine machine = of_student;
  const auto& word = recipe.distill.teacher_device;
  if (word && *word != recipe.run.device) {
    machine.device = use == RunUse::train ? device_named("distill.teacher_device", *word) : c10::Device(*word);
  }
  return machine;
}

// Rows are found by their ids, so what is left to compare is what an id means, and that nothing was divided out.
ExpectedKey key_for(const Tokenizer& student) {
  return {.tokenizer = tokenizer_sha256(student),
          .vocabulary = static_cast<uint64_t>(student.vocab_size()),
          .temperature = 1};
}

}  // namespace

Teacher open_teacher(const DistillRecipe& recipe, const Opened& student, RunUse use) {
  Teacher teacher{.machine = machine_of(recipe, student.machine, use)};
  if (names_store(recipe.distill)) {
    if (use == RunUse::train) teacher.store.emplace(open_store(recipe, student.tokenizer));
    return teacher;
  }
  teacher.shape = open_shape(recipe.teacher, kTeacherKey);
  const Artifact& artifact = teacher.shape->artifact;
  if (use == RunUse::train) require_weights(kTeacherKey, artifact, "name the folder of the model, or a run");
  if (use == RunUse::plan && (artifact.tokenizer.empty() || recipe.teacher_promised)) return teacher;
  teacher.tokenizer = open_tokenizer(artifact, teacher.shape->spec);
  if (recipe.distill.loss != DistillLoss::uld) {
    require_same_vocabulary(kTeacherKey, {artifact.address, *teacher.tokenizer},
                            {student.artifact.address, student.tokenizer},
                            "distill.loss=uld bridges vocabularies; a teacher of the student's family needs no bridge");
  }
  return teacher;
}

TeacherStore open_store(const DistillRecipe& recipe, const Tokenizer& student) {
  auto store = TeacherStore::open(recipe.distill.teacher, key_for(student), TeacherStore::Unfinished::refuse,
                                  recipe.trust_store ? TeacherStore::Hashes::trust : TeacherStore::Hashes::verify);
  const auto held = static_cast<int64_t>(store.key().top_k);
  if (const auto& asked = recipe.distill.top_k; asked && *asked > held) {
    fail(ExitCode::usage,
         fmt::format("distill.top_k: {} keeps at most {} entries a token, and {} are asked for", recipe.distill.teacher,
                     held, *asked),
         "remove the key, or run `prentice teach` with teach.top_k");
  }
  return store;
}

StoredTeacher open_stored_teacher(const DistillRecipe& recipe, const Tokenizer& student, const DataSet& train) {
  return {recipe.distill.teacher, open_store(recipe, student), recipe.data, student, train};
}

void check_teacher(Checker& c, const DistillRecipe& recipe, const ModelSpec& student) {
  if (!address_exists(recipe.teacher.path, {}) || names_store(recipe.distill)) return;
  c.gather(kTeacherKey, [&] {
    const ModelShape shape = open_shape(recipe.teacher, kTeacherKey);
    const ModelSpec& teacher = shape.spec;
    require_language_model(kTeacherKey, shape.artifact.address, teacher);
    const auto refuse = [&](const std::string& layer, const char* of, int64_t number, int64_t layers) {
      c.mistake({.key = "distill.layer_map",
                 .word = layer,
                 .message = fmt::format("the {} has no layer {}: its layers are 0 to {}", of, number, layers - 1),
                 .hint = ""});
    };
    for (const auto& [layer, of_teacher] : recipe.distill.layer_map) {
      const int64_t number = parse_integer(layer).value_or(0);
      if (number >= student.layers) refuse(layer, "student", number, student.layers);
      if (of_teacher >= teacher.layers) refuse(layer, "teacher", of_teacher, teacher.layers);
    }
  });
}

Model load_teacher(Teacher teacher) {
  return load_weights({.machine = teacher.machine,
                       .artifact = std::move(teacher.shape->artifact),
                       .spec = std::move(teacher.shape->spec),
                       .tokenizer = std::move(*teacher.tokenizer)},
                      0);
}

}  // namespace prentice

// The teacher of a distillation before its weights load: what distill.teacher leads to, whether it reads the student's
// tokens, and what it adds to the plan of a step.
#pragma once

#include <optional>

#include "artifact/open.h"
#include "config/checker.h"
#include "config/kinds.h"
#include "distill/stored_teacher.h"
#include "teacher/store.h"

namespace prentice {

struct Teacher {
  Machine machine;                     // where a model computes
  std::optional<ModelShape> shape;     // of a model
  std::optional<Tokenizer> tokenizer;  // of a model; shapes alone have none
  std::optional<TeacherStore> store;   // checked, where it is to be read
};

enum class RunUse { train, plan };  // a plan asks for nothing but shapes

// `student` as it trains, with its new tokens. Errors: `model` for another vocabulary, where the loss needs the same
// one, and for a store that does not hold; `usage` for a device that is not there, and to train for shapes without
// weights or tokenizer.
Teacher open_teacher(const DistillRecipe&, const Opened& student, RunUse);

// The store that distill.teacher names, checked. `student` as it trains. Errors: `model` for one that does not hold, or
// that is of another vocabulary.
TeacherStore open_store(const DistillRecipe&, const Tokenizer& student);
// The same, to be asked about `train`. Errors: also those of StoredTeacher.
StoredTeacher open_stored_teacher(const DistillRecipe&, const Tokenizer& student, const DataSet& train);

// What the shapes of both models do not allow.
void check_teacher(Checker&, const DistillRecipe&, const ModelSpec& student);

Model load_teacher(Teacher);  // a model

}  // namespace prentice

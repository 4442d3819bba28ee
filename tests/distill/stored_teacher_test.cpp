// A store that a live teacher has filled, asked in its place.
#include "distill/stored_teacher.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "data/content.h"
#include "data/steps.h"
#include "distill/store_key.h"
#include "io/scratch.h"
#include "model/model.h"
#include "objective/distill.h"
#include "teacher/store_writer.h"
#include "temp_dir.h"

namespace prentice {
namespace {

constexpr int64_t kVocab = 1536;

Model random_llama(int64_t hidden, uint64_t seed) {
  const ModelSpec spec = read_spec(Json(Json::Object{{"architectures", Json::Array{"LlamaForCausalLM"}},
                                                     {"model_type", "llama"},
                                                     {"hidden_size", hidden},
                                                     {"intermediate_size", 24},
                                                     {"num_hidden_layers", 2},
                                                     {"num_attention_heads", 4},
                                                     {"num_key_value_heads", 2},
                                                     {"vocab_size", kVocab},
                                                     {"max_position_embeddings", 64},
                                                     {"rms_norm_eps", 1e-5},
                                                     {"rope_theta", 10000.0},
                                                     {"hidden_act", "silu"},
                                                     {"initializer_range", 0.3}}));
  return random_model(spec, seed, {.dtype = at::kFloat, .device = at::kCPU});
}

Sequence row_of(const Tokenizer& tokenizer, int64_t sample, const std::string& prompt, const std::string& answer) {
  Sequence row{.sample = sample};
  const auto question = tokenizer.encode(prompt, false), text = tokenizer.encode(answer, false);
  row.ids = question;
  row.ids.insert(row.ids.end(), text.begin(), text.end());
  row.labels.assign(row.ids.size(), static_cast<int32_t>(kNoLabel));
  for (size_t t = question.size(); t < row.ids.size(); ++t) row.labels[t - 1] = row.ids[t];
  return row;
}

struct Lesson {
  const Tokenizer tokenizer = Tokenizer::load("data/quickstart/tokenizer");
  const DataSection section;
  const Model teacher = random_llama(16, 3), student = random_llama(24, 5);
  const toy::TempDir folder;
  DataSet data;

  Lesson() {
    const std::pair<const char*, const char*> rows[] = {{"the train ticket was", " charged twice by mistake"},
                                                        {"a refund", " is due"},
                                                        {"who paid the invoice?", " nobody, as it seems"}};
    for (const auto& [prompt, answer] : rows) {
      const auto sample = static_cast<int64_t>(data.encoded.sequences.size());
      data.encoded.sequences.push_back(row_of(tokenizer, sample, prompt, answer));
      data.encoded.origins.push_back({.file = "rows.jsonl", .line = sample + 1});
    }
  }

  StoreKey key() const {
    return {.teacher = "t",
            .tokenizer = tokenizer_sha256(tokenizer),
            .chat_template = template_sha256(section, tokenizer, data),
            .data = "d",
            .geometry = "g",
            .vocabulary = kVocab,
            .top_k = kVocab,
            .values = StoredValues::f32};
  }
  // Every row but the last `leave_out`, each over the whole vocabulary.
  std::filesystem::path write_store(size_t leave_out = 0) const {
    const c10::NoGradGuard no_grad;
    std::vector<StoreSample> samples;
    const size_t count = data.encoded.sequences.size() - leave_out;
    for (size_t i = 0; i < count; ++i) {
      const Sequence& row = data.encoded.sequences[i];
      samples.push_back({content_of(row), static_cast<uint32_t>(row.target_weight())});
    }
    TeacherStoreWriter writer(folder / "store", key(), samples, {.tail = 0});
    for (size_t i = 0; i < count; ++i) {
      const Batch batch = collate({&data.encoded.sequences[i]}, 0);
      const Tensor hidden = forward_hidden(teacher, batch, {}).index_select(0, batch.target_rows);
      const Tensor log_probs = at::log_softmax(logits(teacher, hidden).to(at::kDouble), 1).to(at::kFloat);
      const int64_t rows = log_probs.size(0);
      writer.append({.ids = at::arange(kVocab, at::kLong).expand({rows, kVocab}).contiguous(),
                     .counts = at::full({rows}, kVocab, at::kLong),
                     .log_probs = log_probs,
                     .tail = at::zeros({rows}, at::kDouble)});
    }
    writer.finish();
    return folder / "store";
  }
  StoredTeacher open(const std::filesystem::path& path, const Tokenizer& of) const {
    return {path, TeacherStore::open(path, {.tokenizer = tokenizer_sha256(of)}), section, of, data};
  }
};

TEST(StoredTeacher, ATeacherThatIsStoredWholeTeachesAsTheLiveOne) {
  const Lesson lesson;
  const StoredTeacher stored = lesson.open(lesson.write_store(), lesson.tokenizer);
  const auto& rows = lesson.data.encoded.sequences;
  for (const auto& order : {std::vector<const Sequence*>{&rows[2], &rows[0], &rows[1]}, {&rows[1]}}) {
    Batch batch = collate(order, 0);
    stored.attach(batch);
    const Counts counts{.tokens = static_cast<double>(batch.target_rows.size(0))};
    const auto share_of = [&](const auto& teacher, double temperature) {
      const Tensor hidden = forward_hidden(lesson.student, batch, {});
      return distill_share(hidden, lesson.student.head, 0, batch, counts, teacher, {.temperature = temperature});
    };
    const Tensor theirs = forward_hidden(lesson.teacher, batch, {});
    for (const double temperature : {1.0, 2.0}) {
      const double live = share_of(LiveTeacher{theirs, lesson.teacher.head, 0}, temperature).loss.item<double>();
      const double found = share_of(stored_targets(batch, TeacherTail::event), temperature).loss.item<double>();
      EXPECT_NEAR(found, live, 1e-6 * live) << "temperature " << temperature;
    }
  }
}

TEST(StoredTeacher, ARowThatIsNotThereIsNamed) {
  const Lesson lesson;
  const auto path = lesson.write_store(1);
  const StoredTeacher stored = lesson.open(path, lesson.tokenizer);
  EXPECT_EQ(stored.taught(lesson.data.encoded).held, 2);
  ExitCode code = ExitCode::ok;
  const std::string message = message_of([&] { stored.require_all(lesson.data.encoded); }, &code);
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_NE(message.find("rows.jsonl:3: the store of distill.teacher does not hold this row"), std::string::npos)
      << message;
  EXPECT_NE(message.find("1 of 3"), std::string::npos) << message;
}

}  // namespace
}  // namespace prentice

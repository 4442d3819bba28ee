// For tests/oracle: losses and gradients of numbers that a folder holds. Arrays are raw f64 in NAME.f64, so that this
// program needs no room that reads files.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "objective/hidden.h"
#include "objective/preference.h"
#include "objective/sequence_sums.h"
#include "objective/sparse_rows.h"
#include "objective/uld.h"

namespace prentice {
namespace {

struct Folder {
  std::filesystem::path path;

  Tensor read(const std::string& name) const {
    const auto file = path / (name + ".f64");
    const auto count = static_cast<int64_t>(std::filesystem::file_size(file) / sizeof(double));
    Tensor tensor = at::zeros({count}, at::kDouble);
    std::ifstream(file, std::ios::binary).read(static_cast<char*>(tensor.data_ptr()), tensor.nbytes());
    return tensor;
  }
  void write(const std::string& name, const std::vector<Tensor>& parts) const {
    std::vector<Tensor> flat;
    for (const Tensor& part : parts) flat.push_back(part.detach().to(at::kDouble).reshape({-1}));
    const Tensor all = at::cat(flat);
    std::ofstream(path / (name + ".f64"), std::ios::binary)
        .write(static_cast<const char*>(all.const_data_ptr()), static_cast<std::streamsize>(all.nbytes()));
  }
};

// `lengths` [S]: sequences of that many labelled rows, behind each an unlabelled one; two a pair, the chosen one first.
Batch batch_of(const Tensor& lengths) {
  Batch batch;
  std::vector<int64_t> rows;
  std::vector<int32_t> starts = {0}, roles, pairs;
  int64_t at = 0;
  for (int64_t i = 0; i < lengths.size(0); ++i) {
    for (auto left = static_cast<int64_t>(lengths[i].item<double>()); left > 0; --left) rows.push_back(at++);
    starts.push_back(static_cast<int32_t>(++at));
    roles.push_back(static_cast<int32_t>(i % 2)), pairs.push_back(static_cast<int32_t>(i / 2));
  }
  batch.target_rows = at::tensor(rows, at::kLong), batch.starts = at::tensor(starts, at::kInt);
  batch.role = at::tensor(roles, at::kInt), batch.pair = at::tensor(pairs, at::kInt);
  batch.labels = at::full({at}, kNoLabel, at::kLong).index_fill_(0, batch.target_rows, 1);
  batch.weights = at::zeros({at}, at::kFloat).index_fill_(0, batch.target_rows, 1);
  return batch;
}

// log_probs, reference [N], lengths [S]; cases.txt lists NAME LOSS BETA SMOOTHING GAMMA. Writes for each NAME the mean
// over pairs and its gradients by log_probs. With `kto` as LOSS, SMOOTHING and GAMMA are the two weights, every
// sequence is one answer, of which desirable [S] judges, and mismatched, mismatched_reference [S] give the divergence.
TEST(Oracle, WritesPreferenceLosses) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  using enum PreferenceLoss;
  const std::map<std::string, PreferenceLoss> losses = {{"sigmoid", sigmoid}, {"cdpo", cdpo}, {"robust", robust},
                                                        {"hinge", hinge},     {"ipo", ipo},   {"orpo", orpo},
                                                        {"simpo", simpo},     {"cpo", cpo}};
  const Folder folder{directory};
  const Batch batch = batch_of(folder.read("lengths"));
  const int64_t sequences = batch.role.size(0), pairs = sequences / 2;
  std::ifstream cases(folder.path / "cases.txt");
  std::string name, word;
  double beta = 0, first = 0, second = 0;
  while (cases >> name >> word >> beta >> first >> second) {
    Tensor log_probs = folder.read("log_probs").requires_grad_();
    const Tensor scores = sequence_sums(log_probs, batch), reference = sequence_sums(folder.read("reference"), batch);
    const Tensor tokens = sequence_tokens(batch);
    const auto of = [&](const Tensor& values, int role) { return of_role(values, batch, role, pairs); };
    Tensor loss;
    if (word == "kto") {
      const Tensor kl = kto_divergence(folder.read("mismatched"), folder.read("mismatched_reference"));
      loss = kto_losses(scores, reference, folder.read("desirable").gt(0), kl,
                        {.beta = beta, .desirable_weight = first, .undesirable_weight = second})
                 .mean();
    } else {
      loss = preference_losses({of(scores, kChosen), of(scores, kRejected), of(reference, kChosen),
                                of(reference, kRejected), of(tokens, kChosen), of(tokens, kRejected)},
                               {losses.at(word), beta, first, second})
                 .mean();
    }
    loss.backward();
    folder.write(name, {loss, log_probs.grad()});
  }
}

SparseTeacher likeliest(const Tensor& logits, int64_t k, bool tail) {
  const auto [log_probs, ids] = at::topk(at::log_softmax(logits, 1), k, 1);
  const Tensor counts = at::full({logits.size(0)}, k, at::kLong);
  return {ids, log_probs, counts, tail_of(log_probs, counts), tail ? TeacherTail::event : TeacherTail::renormalize};
}

// sizes.txt: N D V D' V' VOCAB; student_hidden [N, D], student_weight [V, D], teacher_hidden [N, D'], teacher_weight
// [V', D'], projection [D', D], labels [N]. cases.txt lists NAME KIND BETA T WEIGHT K, where a divergence with K = 0
// has the live teacher, K > 0 its K likeliest entries and a tail, K < 0 the same without. Writes for each NAME the loss
// and its gradients by student_hidden and student_weight.
TEST(Oracle, WritesDistillationLosses) {
  const char* directory = std::getenv("PRENTICE_ORACLE_DIR");
  if (!directory) GTEST_SKIP() << "PRENTICE_ORACLE_DIR is not set";
  const std::map<std::string, Divergence> divergences = {{"forward_kl", Divergence::forward_kl},
                                                         {"reverse_kl", Divergence::reverse_kl},
                                                         {"jsd", Divergence::jsd},
                                                         {"tvd", Divergence::tvd},
                                                         {"cross_entropy", Divergence::cross_entropy}};
  const Folder folder{directory};
  int64_t rows = 0, width = 0, heads = 0, teacher_width = 0, teacher_heads = 0, vocab = 0;
  std::ifstream(folder.path / "sizes.txt") >> rows >> width >> heads >> teacher_width >> teacher_heads >> vocab;
  Tensor hidden = folder.read("student_hidden").view({rows, width}).requires_grad_();
  Tensor weight = folder.read("student_weight").view({heads, width}).requires_grad_();
  const Tensor teacher_hidden = folder.read("teacher_hidden").view({rows, teacher_width});
  const Tensor teacher_weight = folder.read("teacher_weight").view({teacher_heads, teacher_width});
  const Linear head{.weight = Dense{weight}}, teacher_head{.weight = Dense{teacher_weight}};
  Batch batch;
  batch.labels = folder.read("labels").to(at::kLong);
  batch.target_rows = at::arange(rows, at::kLong), batch.weights = at::ones({rows}, at::kFloat);
  const Counts counts{.tokens = static_cast<double>(rows)};
  const Tensor projection = folder.read("projection").view({teacher_width, width});
  std::ifstream cases(folder.path / "cases.txt");
  std::string name, kind;
  DistillOptions options{.vocab = vocab};
  int64_t k = 0;
  while (cases >> name >> kind >> options.beta >> options.temperature >> options.weight >> k) {
    const auto distilled = [&]() -> Tensor {
      if (kind == "hidden_mse") return hidden_mse_share(hidden, teacher_hidden, projection, batch, counts);
      if (kind == "hidden_cosine") return hidden_cosine_share(hidden, teacher_hidden, projection, batch, counts);
      if (kind == "uld") {
        const UldTeacher teacher{teacher_hidden, teacher_head, 0, batch.target_rows, 0};
        return uld_share(hidden, head, 0, batch, counts, teacher, options).loss;
      }
      options.divergence = divergences.at(kind);
      if (k == 0) {
        return distill_share(hidden, head, 0, batch, counts, LiveTeacher{teacher_hidden, teacher_head}, options).loss;
      }
      const Tensor logits = teacher_hidden.matmul(teacher_weight.t()).narrow(1, 0, vocab);
      return distill_share(hidden, head, 0, batch, counts, likeliest(logits, std::abs(k), k > 0), options).loss;
    };
    const Tensor loss = distilled();
    loss.backward();
    const Tensor of_weight = weight.grad().defined() ? weight.grad() : at::zeros_like(weight);
    folder.write(name, {loss, hidden.grad(), of_weight});
    hidden.mutable_grad() = Tensor(), weight.mutable_grad() = Tensor();
  }
}

}  // namespace
}  // namespace prentice

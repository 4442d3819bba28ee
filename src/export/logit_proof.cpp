#include "export/logit_proof.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/topk.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "adapter/merge.h"
#include "adapter/qat.h"
#include "export/logit_comparison.h"
#include "model/block.h"
#include "model/make.h"
#include "model/rope_table.h"

namespace prentice {

namespace {

struct Rows {
  int64_t first = 0, count = 0;
};

// Of `rows`, which begin at id `first` of the embedding, to the places of `states` whose id they are.
void put_rows(const Tensor& rows, int64_t first, const Tensor& ids, const Tensor& states) {
  const auto* id = ids.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < ids.size(0); ++i) {
    const int64_t row = id[i] - first;
    if (row >= 0 && row < rows.size(0)) states.select(0, i).copy_(rows.select(0, row));
  }
}

// The decoder of one side as far as it is read, and the states of all tokens behind it.
class Walk {
 public:
  Walk(const WeightReader& weights, const std::vector<Batch>& batches)
      : weights_(weights),
        batches_(batches),
        model_(make_model(weights.spec, {.dtype = at::kFloat, .device = at::kMeta})) {
    const int64_t width = model_.embed.size(1);
    for (const auto& batch : batches) states_.push_back(at::full({batch.tokens.size(0), width}, NAN, at::kFloat));
    const Matrix embed = open(weights.spec.names.embed + ".weight", model_.embed);
    for (int64_t first = 0; first < embed.rows; first += rows_at_once(embed)) {
      const Tensor rows = read(embed, first, std::min(rows_at_once(embed), embed.rows - first));
      for (size_t i = 0; i < batches.size(); ++i) put_rows(rows, first, batches[i].tokens.cpu(), states_[i]);
    }
    const double scale = weights.spec.embed_scale;
    for (auto& states : states_) states = (scale == 1 ? states : states * scale).to(device());
  }

  void step(size_t index) {
    Layer layer = model_.layers[index];
    layer.qkv.joined = Tensor(), layer.gate_up.joined = Tensor();
    const auto tensors = [&](auto& part) {
      visit_tensors(part, [&](const std::string& name, Tensor& tensor) { tensor = whole(name, tensor).to(device()); });
    };
    visit_layer(layer, tensors, tensors);
    const LayerSpec& kind = model_.spec.layer[index];
    const RopeSpec& rope = model_.spec.ropes[static_cast<size_t>(kind.rope)];
    for (size_t i = 0; i < batches_.size(); ++i) {
      const Batch& batch = batches_[i];
      states_[i] = run_block(model_.spec, kind, layer, states_[i],
                             rope_table(rope, {batch.positions, batch.host_starts}, at::kFloat),
                             {.linear = [](const Linear& part, const Tensor& x) { return linear(part, x); },
                              .project = [](const Projection& part, const Tensor& x) { return project(part, x); },
                              .attend = [&](const Tensor& q, const Tensor& k, const Tensor& v,
                                            const AttentionOptions& how) { return attention(q, k, v, batch, how); }});
    }
  }

  void finish() {
    visit_tensors(model_.final_norm,
                  [&](const std::string& name, Tensor& tensor) { tensor = whole(name, tensor).to(device()); });
    for (auto& states : states_) states = normalize(model_.final_norm, states);
    const ModelSpec& spec = model_.spec;
    const std::string& owner = spec.tied_head ? spec.names.embed : spec.names.head;
    head_ = open(owner + ".weight", std::get<Dense>(model_.head.weight).weight);
    if (model_.head.bias.defined()) bias_ = whole(model_.head.name + ".bias", model_.head.bias);
  }

  // Of ids [first, first + count), at `rows` of the batch: [rows.count, count] f64
  Tensor logits(size_t batch, const Rows& rows, int64_t first, int64_t count) const {
    const Tensor states = states_[batch].narrow(0, rows.first, rows.count);
    std::vector<Tensor> parts;
    for (int64_t at = 0; at < count; at += rows_at_once(head_)) {
      const Tensor part = read(head_, first + at, std::min(rows_at_once(head_), count - at));
      parts.push_back(at::matmul(states, part.to(device()).t()));
    }
    Tensor scores = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
    if (bias_.defined()) scores = scores + bias_.narrow(0, first, count).to(device());
    const double cap = model_.spec.final_softcap;
    return (cap > 0 ? at::tanh(scores / cap) * cap : scores).to(at::kDouble);
  }

 private:
  c10::Device device() const { return batches_.front().tokens.device(); }
  Tensor whole(const std::string& name, const Tensor& shape) const {
    Tensor values = at::empty(shape.sizes(), at::TensorOptions(at::kFloat));
    weights_.read(name, values);
    return values;
  }

  // An embedding or a head: in memory where it is small or cannot be read by its rows.
  struct Matrix {
    std::string name;
    int64_t rows = 0, columns = 0;
    Tensor held;
  };
  Matrix open(const std::string& name, const Tensor& shape) const {
    const bool held = !weights_.read_rows || shape.numel() <= kHeldValues;
    return {name, shape.size(0), shape.size(1), held ? whole(name, shape) : Tensor()};
  }
  static int64_t rows_at_once(const Matrix& matrix) {
    return matrix.held.defined() ? matrix.rows : std::max<int64_t>(kHeldValues / matrix.columns, 1);
  }
  Tensor read(const Matrix& matrix, int64_t first, int64_t count) const {
    if (matrix.held.defined()) return matrix.held.narrow(0, first, count);
    Tensor rows = at::empty({count, matrix.columns}, at::kFloat);
    weights_.read_rows(matrix.name, first, rows);
    return rows;
  }

  const WeightReader& weights_;
  const std::vector<Batch>& batches_;
  Model model_;  // on `meta`, but for what is read
  std::vector<Tensor> states_;
  Matrix head_;
  Tensor bias_;  // on the CPU
};

// [T] int64 on the host: the id behind every position, trained on or not; -1 at the end of a sequence
std::vector<int64_t> next_ids(const Batch& batch) {
  const Tensor ids = batch.tokens.cpu();
  const auto* from = ids.const_data_ptr<int64_t>();
  std::vector<int64_t> next(from + 1, from + ids.size(0));
  next.push_back(-1);
  for (const int64_t start : batch.host_starts) {
    if (start > 0) next[static_cast<size_t>(start) - 1] = -1;
  }
  return next;
}

// The adapter is in it, rounded where the file rounds.
Tensor values_in_products(const Linear& linear) {
  if (!linear.lora) return weight_values(linear);
  if (!linear.lora->served) return merged_weight(weight_values(linear), *linear.lora);
  const HeldWeight& held = linear.lora->served->of(dense_weight(linear), *linear.lora);
  const auto* blocks = std::get_if<GgufBlocks>(&held);
  return blocks ? dequantized(*blocks, at::kFloat) : std::get<Dense>(held).weight;
}

}  // namespace

WeightReader reader_of(const WeightSource& source) {
  const auto places = std::make_shared<std::map<std::string, size_t>>();
  for (const auto& tensor : source.tensors()) (*places)[tensor.name] = places->size();
  const auto read_rows = [&source, places](const std::string& name, int64_t first, const Tensor& destination) {
    const int64_t rows = destination.dim() > 0 ? destination.size(0) : 1;
    source.read_rows(places->at(name), first, rows,
                     {destination.mutable_data_ptr<float>(), static_cast<size_t>(destination.numel())});
    source.release();
  };
  const auto read = [read_rows](const std::string& name, const Tensor& to) { read_rows(name, 0, to); };
  return {source.spec(), read, read_rows};
}

WeightReader reader_of(const GgufReader& file, const ModelSpec& spec) {
  const auto tensors = std::make_shared<std::map<std::string, GgufTensor>>();
  for (auto& tensor : match_gguf(spec, file)) tensors->emplace(tensor.name, tensor);
  const auto read_rows = [&file, spec, tensors](const std::string& name, int64_t first, const Tensor& destination) {
    copy_gguf_values(tensors->at(name), spec, destination, first);
    file.release_pages();
  };
  const auto read = [read_rows](const std::string& name, const Tensor& to) { read_rows(name, 0, to); };
  return {spec, read, read_rows};
}

WeightReader reader_of(const Model& model) {
  ModelSpec spec = decoder_alone(model.spec);
  const auto tensors = std::make_shared<std::map<std::string, std::function<Tensor()>>>();
  visit(model, [&](const std::string& name, const Tensor& tensor) { (*tensors)[name] = [tensor] { return tensor; }; });
  visit_linears(model, [&](const Linear& linear) {
    (*tensors)[linear.name + ".weight"] = [&linear] { return values_in_products(linear); };
  });
  if (const auto& held = model.embed_blocks) {
    (*tensors)[model.spec.names.embed + ".weight"] = [held] { return dequantized(*held, at::kFloat); };
  }
  // The decoder alone may have other names than the model around it, in the same order.
  const auto own = expected_tensors(model.spec), alone = expected_tensors(spec);
  const auto names = std::make_shared<std::map<std::string, std::string>>();
  for (size_t i = 0; i < own.size(); ++i) (*names)[alone[i].name] = own[i].name;
  return {std::move(spec), [tensors, names](const std::string& name, const Tensor& destination) {
            destination.copy_(tensors->at(names->at(name))());
          }};
}

namespace {

// Both sides behind their last norm.
struct Pair {
  Walk own, other;

  Pair(const WeightReader& model, const WeightReader& artifact, const std::vector<Batch>& batches,
       const std::function<void()>& before_layer)
      : own(model, batches), other(artifact, batches) {
    for (size_t i = 0; i < static_cast<size_t>(model.spec.layers); ++i) {
      before_layer();
      own.step(i), other.step(i);
    }
    own.finish(), other.finish();
  }
};

LogitsOf logits_of(const Walk& walk, size_t batch, const Rows& rows) {
  return [&walk, batch, rows](int64_t first, int64_t count) { return walk.logits(batch, rows, first, count); };
}

LogitProof compare(const Pair& sides, const std::vector<Batch>& batches, int64_t vocab,
                   const std::vector<int32_t>& stop_ids, const std::function<void()>& before_batch) {
  LogitComparison found(vocab, stop_ids);
  for (size_t i = 0; i < batches.size(); ++i) {
    before_batch();
    const Rows all{0, batches[i].tokens.size(0)};
    found.add(logits_of(sides.own, i, all), logits_of(sides.other, i, all), next_ids(batches[i]));
  }
  return found.result();
}

// What another program says, a sequence after the other.
class Hearing {
 public:
  Hearing(const Pair& sides, int64_t vocab, const std::vector<int32_t>& stop_ids)
      : sides_(sides), vocab_(vocab), of_model_(vocab, stop_ids), of_artifact_(vocab, stop_ids) {}

  // False where something went wrong.
  bool hear(const ForeignLogits& witness, size_t index, const Batch& batch) {
    const Tensor ids = batch.tokens.cpu();
    const auto next = next_ids(batch);
    const auto& starts = batch.host_starts;
    for (size_t i = 0; i + 1 < starts.size() && found_.fault.empty(); ++i) {
      const auto length = static_cast<size_t>(starts[i + 1] - starts[i]);
      if (length == 0) continue;
      found_.fault =
          witness({ids.const_data_ptr<int64_t>() + starts[i], length}, [&](int64_t first, const Tensor& said) {
            add(index, {starts[i] + first, said.size(0)}, said.to(batch.tokens.device(), at::kDouble), next);
          });
    }
    return found_.fault.empty();
  }

  WitnessProof result() {
    found_.of_model = of_model_.result(), found_.of_artifact = of_artifact_.result();
    return found_;
  }

 private:
  // said: [rows.count, V]
  void add(size_t index, const Rows& rows, const Tensor& said, std::span<const int64_t> next) {
    const LogitsOf own = logits_of(sides_.own, index, rows), file = logits_of(sides_.other, index, rows);
    const LogitsOf other = [&](int64_t first, int64_t count) { return said.narrow(1, first, count); };
    const auto behind = next.subspan(static_cast<size_t>(rows.first), static_cast<size_t>(rows.count));
    of_model_.add(own, other, behind);
    of_artifact_.add(file, other, behind);
    const DecidedCounts decided = count_decided(file, other, rows.count, vocab_);
    found_.decided += decided.decided, found_.decided_otherwise += decided.otherwise;
  }

  const Pair& sides_;
  int64_t vocab_;
  LogitComparison of_model_, of_artifact_;
  WitnessProof found_;
};

// What one side says of a position against the answer there. scores: [V] f64
void compare_answer(const Tensor& scores, const ForeignAnswer& answer, AnswerDifference& found) {
  const Tensor log_probs = at::log_softmax(scores, -1).cpu();
  const auto [values, ids] = at::topk(log_probs, std::min<int64_t>(kComparedIds, scores.size(0)));
  const auto* own = log_probs.const_data_ptr<double>();
  const auto* likeliest = ids.const_data_ptr<int64_t>();
  const auto said = [&](int64_t id) {
    const auto at = std::ranges::find(answer.likeliest, id, [](const auto& one) { return one.first; });
    return at != answer.likeliest.end() ? at->second : std::min(own[id], answer.likeliest.back().second);
  };
  const auto compare = [&](int64_t id) { found.log_prob = std::max(found.log_prob, std::abs(own[id] - said(id))); };
  for (int64_t i = 0; i < ids.size(0); ++i) compare(likeliest[i]);
  for (size_t i = 0; i < std::min<size_t>(kComparedIds, answer.likeliest.size()); ++i)
    compare(answer.likeliest[i].first);
  if (answer.greedy == likeliest[0]) return;
  ++found.otherwise;
  found.margin = std::max(found.margin, own[likeliest[0]] - own[answer.greedy]);
}

std::optional<int64_t> strange_id(const ForeignAnswer& answer, int64_t vocab) {
  const auto is_strange = [&](int64_t id) { return id < 0 || id >= vocab; };
  for (const auto& [id, log_prob] : answer.likeliest) {
    if (is_strange(id)) return id;
  }
  return is_strange(answer.greedy) ? std::optional(answer.greedy) : std::nullopt;
}

// Positions of all batches whose ids are at most `context`, spread evenly: of each the batch, and where its ids begin
// and end.
struct Position {
  size_t batch;
  int64_t first, last;
};
std::vector<Position> asked_positions(const std::vector<Batch>& batches, int64_t context) {
  std::vector<Position> all, asked;
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto& starts = batches[i].host_starts;
    for (size_t s = 0; s + 1 < starts.size(); ++s) {
      const int64_t count = std::min<int64_t>(starts[s + 1] - starts[s], context);
      for (int64_t at = starts[s]; at < starts[s] + count; ++at) all.push_back({i, starts[s], at});
    }
  }
  const size_t count = std::min<size_t>(kAskedPositions, all.size());
  for (size_t i = 0; i < count; ++i) asked.push_back(all[(2 * i + 1) * all.size() / (2 * count)]);
  return asked;
}

AnswerProof ask(const Pair& sides, const std::vector<Batch>& batches, int64_t vocab, const ForeignAnswers& witness,
                int64_t context) {
  AnswerProof found;
  for (const auto& [batch, first, last] : asked_positions(batches, context)) {
    const Tensor ids = batches[batch].tokens.cpu();
    ++found.asked;
    const auto answer = witness({ids.const_data_ptr<int64_t>() + first, static_cast<size_t>(last + 1 - first)});
    if (!answer) continue;
    if ((found.strange = strange_id(*answer, vocab))) break;
    ++found.answered;
    const Rows row{last, 1};
    compare_answer(sides.own.logits(batch, row, 0, vocab).squeeze(0), *answer, found.from_model);
    compare_answer(sides.other.logits(batch, row, 0, vocab).squeeze(0), *answer, found.from_artifact);
  }
  return found;
}

}  // namespace

Tensor last_logits(const WeightReader& model, const Batch& batch, const std::function<void()>& before_layer) {
  const c10::NoGradGuard no_grad;
  const std::vector<Batch> batches = {batch};
  Walk walk(model, batches);
  for (size_t i = 0; i < static_cast<size_t>(model.spec.layers); ++i) {
    before_layer();
    walk.step(i);
  }
  walk.finish();
  std::vector<Tensor> rows;
  for (size_t i = 1; i < batch.host_starts.size(); ++i)
    rows.push_back(walk.logits(0, {batch.host_starts[i] - 1, 1}, 0, model.spec.vocab).cpu());
  return at::cat(rows);
}

AnsweredProof prove_logits_by_answers(const WeightReader& model, const WeightReader& artifact,
                                      const ForeignAnswers& witness, int64_t context, const std::vector<Batch>& batches,
                                      const std::vector<int32_t>& stop_ids, const std::function<void()>& before_layer) {
  const c10::NoGradGuard no_grad;
  const Pair sides(model, artifact, batches, before_layer);
  LogitProof own = compare(sides, batches, model.spec.vocab, stop_ids, before_layer);
  return {own, ask(sides, batches, model.spec.vocab, witness, context)};
}

LogitProof prove_logits(const WeightReader& model, const WeightReader& artifact, const std::vector<Batch>& batches,
                        const std::vector<int32_t>& stop_ids, const std::function<void()>& before_layer) {
  const c10::NoGradGuard no_grad;
  const Pair sides(model, artifact, batches, before_layer);
  return compare(sides, batches, model.spec.vocab, stop_ids, before_layer);
}

WitnessedProof prove_logits_twice(const WeightReader& model, const WeightReader& artifact, const ForeignLogits& witness,
                                  const std::vector<Batch>& batches, const std::vector<int32_t>& stop_ids,
                                  const std::function<void()>& before_layer) {
  const c10::NoGradGuard no_grad;
  const Pair sides(model, artifact, batches, before_layer);
  WitnessedProof found{.own = compare(sides, batches, model.spec.vocab, stop_ids, before_layer)};
  Hearing hearing(sides, model.spec.vocab, stop_ids);
  for (size_t i = 0; i < batches.size(); ++i) {
    before_layer();
    if (!hearing.hear(witness, i, batches[i])) break;
  }
  found.witness = hearing.result();
  return found;
}

}  // namespace prentice

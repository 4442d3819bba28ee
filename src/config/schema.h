// Every section of a recipe as a struct: members carry the defaults and the recipe's key names. The one list of
// fields per struct is `fields(visitor, section)` in config/fields.h; reading, unknown keys, overrides, help, the JSON
// schema and the resolved recipe all walk it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace prentice {

// A key whose word `auto` is decided once, before training, and frozen into the run's recipe.yaml.
template <class T>
using Auto = std::optional<T>;  // nullopt = auto, still undecided

enum class Precision { f32, bf16 };
enum class AdapterKind { lora, dora, full };
enum class DataFormat { automatic, messages, sharegpt, alpaca, completion, text, preference, labels };
enum class ChatMode { automatic, on, off };
enum class TrainOn { assistant, last, completion, all };
enum class Overlong { automatic, error, drop, truncate, split };  // automatic: split for `text`, else error
enum class EosMode { automatic, on, off };
enum class Recompute { none, selective, block };
enum class OptimizerName { adamw, adamw8bit, sgd, lion };
enum class Schedule { cosine, linear, constant, wsd };
enum class PreferenceLoss { sigmoid, ipo, hinge, robust, cdpo, kto, orpo, simpo, cpo };
enum class DistillLoss { forward_kl, reverse_kl, jsd, tvd, ce, hidden_mse, hidden_cosine, uld };
enum class TeacherTail { event, renormalize };
enum class Normalize { none, tokens, bytes };
enum class Select { last, eval_loss, eval_accuracy };

struct RunSection {
  std::string out;  // default: runs/ + the recipe's name
  int64_t seed = 17;
  Auto<std::string> device;
  Auto<Precision> precision;
  bool deterministic = true;
  Auto<int64_t> threads;
  int64_t log_every = 10;
};

struct ModelSection {
  std::string path;     // artifact address
  std::string adapter;  // PEFT folder
  std::string init = "weights";
  std::string quantize = "none";
  std::string tokenizer;
  std::vector<std::string> add_tokens;
};

struct AdapterSection {
  AdapterKind kind = AdapterKind::lora;
  int64_t rank = 16;
  Auto<double> alpha;  // 32; 8 with rslora
  double dropout = 0;
  std::vector<std::string> targets = {"all-linear"};  // one word may be a regular expression
  std::vector<int64_t> layers;                        // empty = all
  std::map<std::string, int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
  std::vector<std::string> modules_to_save;
  bool rslora = false;
  std::string init = "default";
  double lr_ratio = 1;
  std::string qat = "none";
};

struct WeightedFile {
  std::string path;
  double weight = 1;
  bool operator==(const WeightedFile&) const = default;
};

struct DataSection {
  std::vector<WeightedFile> train;
  std::vector<WeightedFile> eval;
  Auto<double> eval_split;  // share below 1, rows from 1 up; automatic = 5 % and at most 500 rows
  std::string split_by;
  std::string stratify;
  DataFormat format = DataFormat::automatic;
  std::map<std::string, std::string> fields;  // our name -> the file's name
  std::string system;
  std::string prompt;      // minijinja over the record
  std::string completion;  // minijinja over the record
  ChatMode chat = ChatMode::automatic;
  std::string chat_template = "auto";  // key: template
  std::map<std::string, std::string> template_args;
  TrainOn train_on = TrainOn::assistant;
  Auto<int64_t> max_length;
  Overlong overlong = Overlong::automatic;
  EosMode eos = EosMode::automatic;
  bool lines = false;
  bool packing = true;
  bool shuffle = true;
  int64_t limit = 0;  // 0 = all
};

struct TrainSection {
  Auto<int64_t> batch;         // examples per optimizer step; exclusive with batch_tokens
  int64_t batch_tokens = 0;    // 0 = by examples
  Auto<int64_t> micro_tokens;  // tokens per forward
  Auto<double> epochs;
  int64_t steps = 0;               // 0 = by epochs
  Auto<int64_t> checkpoint_every;  // automatic: each epoch and every 30 minutes
  int64_t keep = 2;
  Auto<int64_t> eval_every;  // automatic: at start, each epoch, end
  Select select = Select::last;
  int64_t patience = 0;  // 0 = off
  Auto<Recompute> recompute;
  Auto<bool> offload;  // optimizer state, what recomputation keeps, and frozen ends of the model in host memory
  Auto<bool> graph;    // steps as captured CUDA graphs
};

struct OptimSection {
  OptimizerName name = OptimizerName::adamw;
  Auto<double> lr;  // by kind
  Schedule schedule = Schedule::cosine;
  Auto<double> warmup;  // below 1 a share, from 1 up steps; 0.03 and at least 5 steps
  Auto<double> min_lr;  // share of lr; 0.1 for cosine, else 0
  double decay = 0.2;
  Auto<double> weight_decay;              // 0; 0.1 for pretrain
  Auto<std::pair<double, double>> betas;  // 0.9, 0.999; 0.9, 0.95 for pretrain
  double eps = 1e-8;
  double clip = 1.0;
  std::string master = "auto";
};

struct PreferenceSection {
  PreferenceLoss loss = PreferenceLoss::sigmoid;
  Auto<double> beta;             // 0.1; 2 for simpo
  Auto<double> label_smoothing;  // 0; 0.1 for cdpo and robust
  Auto<double> gamma;            // 0; 1 for simpo
  Auto<double> sft_weight;       // 0; 1 for cpo and orpo
  std::string reference = "start";
};

struct DistillSection {
  std::string teacher;  // artifact address, or a store: a folder with store.json
  DistillLoss loss = DistillLoss::forward_kl;
  double temperature = 1;
  Auto<double> weight;  // 0.5; 1 where the student samples
  Auto<int64_t> top_k;  // automatic = everything that is known: of a model all ids, of a store its entries
  TeacherTail tail = TeacherTail::event;
  double on_policy = 0;  // share of the examples
  Auto<int64_t> max_new_tokens;
  double beta = 0.5;
  std::map<std::string, int64_t> layer_map;  // student's layer -> teacher's
  Auto<std::string> teacher_device;
};

struct EvalSection {
  std::vector<std::string> tasks;  // loss, choice, exact, preference
  std::vector<std::string> choices;
  Normalize normalize = Normalize::none;
  int64_t limit = 0;
  int64_t max_new_tokens = 64;
  std::map<std::string, double> require;  // metric -> bound (an upper bound for losses, a lower one otherwise)
};

struct CompareSection {
  std::string a, b;  // artifact addresses
  std::string metric = "auto";
  double margin = 0.01;
  double confidence = 0.95;
};

// Bounds of what a file's logits may differ by; what is not given is by type and size (proof/logit_limits.h).
struct LogitLimits {
  std::optional<double> kld;   // mean, nats, at most
  std::optional<double> top1;  // share of tokens with the same likeliest id, at least
  bool operator==(const LogitLimits&) const = default;
};

struct VerifySection {
  std::string model;     // artifact address: what was trained
  std::string artifact;  // a GGUF file, a merged folder or an adapter that is to be the same
  std::map<std::string, LogitLimits> limits;
  Auto<int64_t> tokens;   // 512 on the CPU, 8192 on a GPU
  std::string llama_cpp;  // its library, a second witness; "" = none
};

struct ExportSection {
  bool peft = true;
  std::string merged = "none";        // none, f32, bf16, f16; bf16 of a reward model
  std::vector<std::string> gguf;      // F32 F16 BF16 Q8_0 Q6_K Q5_K_M ...
  std::string gguf_adapter = "none";  // none, F32, F16, BF16, Q8_0; true is F32
  std::map<std::string, std::string> types;
  std::string imatrix;  // an importance matrix, or calibration data
  std::string dtype = "f32";
  std::string name;
  bool verify = true;
  std::map<std::string, LogitLimits> limits;  // by type
};

struct GenerateSection {
  std::string prompt;
  int64_t max_new_tokens = 256;
  double temperature = 0;
  double top_p = 1;
  int64_t top_k = 0;
  int64_t n = 1;
  int64_t seed = 17;
  std::vector<std::string> stop;
};

// teach.sample: answers of the teacher instead of its log-probabilities.
struct SampleSection {
  int64_t n = 0;  // answers a prompt; 0 = none
  double temperature = 1;
  double top_p = 1;
  int64_t max_new_tokens = 256;
  int64_t min_tokens = 0;
  bool json = false;      // kept when it parses as JSON
  std::string match;      // kept when this regular expression matches all of it
  double likelihood = 0;  // kept when the geometric mean of its tokens' probabilities is at least this
  int64_t agree = 1;      // kept when at least so many of the n answers are the same

  bool operator==(const SampleSection&) const = default;
};

struct TeachSection {
  std::string out;  // default: store, or answers.jsonl, in run.out
  int64_t top_k = 50;
  double tail = 0.001;
  std::string values = "q8";
  SampleSection sample;
};

struct PipelineStep {
  std::string name;
  std::string recipe;
  std::map<std::string, std::string> overrides;
  bool operator==(const PipelineStep&) const = default;
};

struct PipelineSection {
  std::vector<PipelineStep> steps;
};

struct PlanSection {
  std::string hardware;
};

}  // namespace prentice

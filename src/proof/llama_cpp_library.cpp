#include "proof/llama_cpp_library.h"

#include <ATen/ops/from_blob.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// Parameters are structs by value whose fields differ between versions. The calling conventions of x86-64 and AArch64
// return a struct of more than 16 bytes through a pointer of the caller's and pass it, as the last argument, as bytes
// whose beginning is all that the callee looks at: room for more than any version has is as good as the struct itself.
struct alignas(8) Parameters {
  std::byte bytes[1024];
};

// The first fields of llama_context_params, which have stood there since llama_init_from_model has existed. What became
// of them is asked back: a version that has moved them is refused.
struct ContextSizes {
  uint32_t context, batch, micro_batch;
};

// llama_batch: these fields, and room for those that older versions have behind them.
struct TokenBatch {
  int32_t count;
  int32_t* tokens;
  float* embeddings;
  int32_t* positions;
  int32_t* sequence_counts;
  int32_t** sequences;
  int8_t* wanted;
  std::byte more[64];
};

struct OpaqueModel;
struct OpaqueContext;
struct OpaqueAdapter;
struct OpaqueVocabulary;

// llama.h since January 2025.
struct Functions {
  void (*backend_init)();
  void (*log_set)(void (*)(int level, const char* text, void* user), void* user);
  Parameters (*model_default_params)();
  OpaqueModel* (*model_load_from_file)(const char* path, Parameters);
  void (*model_free)(OpaqueModel*);
  const OpaqueVocabulary* (*model_get_vocab)(const OpaqueModel*);
  int32_t (*vocab_n_tokens)(const OpaqueVocabulary*);
  int32_t (*tokenize)(const OpaqueVocabulary*, const char* text, int32_t bytes, int32_t* ids, int32_t room,
                      bool add_special, bool parse_special);
  Parameters (*context_default_params)();
  OpaqueContext* (*init_from_model)(OpaqueModel*, Parameters);
  void (*free)(OpaqueContext*);
  uint32_t (*n_ctx)(const OpaqueContext*);
  uint32_t (*n_batch)(const OpaqueContext*);
  void (*set_n_threads)(OpaqueContext*, int32_t one, int32_t many);
  TokenBatch (*batch_init)(int32_t tokens, int32_t embedding, int32_t sequences);
  void (*batch_free)(TokenBatch);
  int32_t (*decode)(OpaqueContext*, TokenBatch);
  float* (*get_logits_ith)(OpaqueContext*, int32_t);
  OpaqueAdapter* (*adapter_lora_init)(OpaqueModel*, const char* path);
  // One of the two: the first was replaced by the second in 2026.
  int32_t (*set_adapter_lora)(OpaqueContext*, OpaqueAdapter*, float scale) = nullptr;
  int32_t (*set_adapters_lora)(OpaqueContext*, OpaqueAdapter**, size_t count, float* scales) = nullptr;
};

constexpr int kErrorLevel = 4;   // GGML_LOG_LEVEL_ERROR
constexpr int32_t kMicro = 128;  // tokens at a time, and rows of logits that llama.cpp has room for
constexpr int64_t kSteps = 256;  // llama.cpp makes contexts of so many tokens and multiples of it
constexpr int64_t kRoom = 16;    // ids that a text may have beside one a byte

class Library {
 public:
  Library(const fs::path& path, int threads, std::string_view key) : threads_(threads) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // for good: its threads may outlive what used it
    if (!handle) {
      const std::string why = dlerror();  // "PATH: reason"
      const std::string own = path.string() + ": ";
      fail(ExitCode::usage, fmt::format("{}: {} cannot be loaded as a library: {}", key, path.string(),
                                        why.starts_with(own) ? why.substr(own.size()) : why));
    }
    const auto optional = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      return function != nullptr;
    };
    const auto take = [&](auto& function, const char* name) {
      if (optional(function, name)) return;
      fail(ExitCode::usage,
           fmt::format("{}: {} has no function {}: no library of llama.cpp, or one older than January 2025", key,
                       path.string(), name));
    };
    take(call.backend_init, "llama_backend_init"), take(call.log_set, "llama_log_set");
    take(call.model_default_params, "llama_model_default_params");
    take(call.model_load_from_file, "llama_model_load_from_file"), take(call.model_free, "llama_model_free");
    take(call.model_get_vocab, "llama_model_get_vocab"), take(call.vocab_n_tokens, "llama_vocab_n_tokens");
    take(call.tokenize, "llama_tokenize"), take(call.context_default_params, "llama_context_default_params");
    take(call.init_from_model, "llama_init_from_model"), take(call.free, "llama_free");
    take(call.n_ctx, "llama_n_ctx"), take(call.n_batch, "llama_n_batch");
    take(call.set_n_threads, "llama_set_n_threads"), take(call.batch_init, "llama_batch_init");
    take(call.batch_free, "llama_batch_free"), take(call.decode, "llama_decode");
    take(call.get_logits_ith, "llama_get_logits_ith"), take(call.adapter_lora_init, "llama_adapter_lora_init");
    if (!optional(call.set_adapters_lora, "llama_set_adapters_lora"))
      take(call.set_adapter_lora, "llama_set_adapter_lora");
    call.log_set(&Library::listen, this);
    void (*(*on_abort)(void (*)(const char*)))(const char*) = nullptr;
    if (optional(on_abort, "ggml_set_abort_callback")) on_abort(&Library::give_up);
    // Where backends are libraries of their own, they lie beside it; it would look beside this program.
    void (*load_backends)(const char* folder) = nullptr;
    if (optional(load_backends, "ggml_backend_load_all_from_path")) load_backends(path.parent_path().c_str());
    call.backend_init();
    size_t (*device_count)() = nullptr;
    if (optional(device_count, "ggml_backend_dev_count") && device_count() == 0) {
      call.log_set(&Library::ignore, nullptr);
      fail(ExitCode::usage,
           fmt::format("{}: {} finds nothing to run on: no libggml-cpu*.so beside it", key, path.string()));
    }
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { call.log_set(&Library::ignore, nullptr); }

  int threads() const { return threads_; }
  void forget() { first_error_.clear(); }
  // The first that it has complained of since: what follows only says where that led.
  std::string complaint() const { return first_error_.empty() ? "it does not say why" : first_error_; }

  Functions call;

 private:
  static void ignore(int, const char*, void*) {}
  static void listen(int level, const char* text, void* self) {
    auto& error = static_cast<Library*>(self)->first_error_;
    if (level != kErrorLevel || !error.empty()) return;
    error = text;
    error.erase(error.find_last_not_of('\n') + 1);
  }

  // Where its own assertions fail it ends the program: with a message, and the exit code of a file that is no good.
  static void give_up(const char* reason) {
    fmt::print(stderr, "error: llama.cpp cannot go on with this file: {}\n", reason);
    std::_Exit(static_cast<int>(ExitCode::model));
  }

  int threads_;
  std::string first_error_;
};

// A file that it has read.
class LoadedModel {
 public:
  LoadedModel(std::shared_ptr<Library> library, const fs::path& file, const fs::path& adapter)
      : library_(std::move(library)), call(library_->call) {
    library_->forget();
    model_ = call.model_load_from_file(file.c_str(), call.model_default_params());
    if (model_ && !adapter.empty()) adapter_ = call.adapter_lora_init(model_, adapter.c_str());
    if (!model_ || (!adapter.empty() && !adapter_)) refusal_ = library_->complaint();
  }
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;
  ~LoadedModel() {
    if (model_) call.model_free(model_);  // and the adapter with it
  }

  const std::string& refusal() const { return refusal_; }
  int64_t vocab() const { return call.vocab_n_tokens(call.model_get_vocab(model_)); }

  std::vector<int32_t> encode(const std::string& text) const {
    const auto bytes = static_cast<int32_t>(text.size());
    std::vector<int32_t> ids(text.size() + kRoom);
    const auto write = [&] {
      return call.tokenize(call.model_get_vocab(model_), text.data(), bytes, ids.data(),
                           static_cast<int32_t>(ids.size()), true, true);
    };
    int32_t count = write();
    if (count < 0) {  // how many there would be
      ids.resize(static_cast<size_t>(-count));
      count = write();
    }
    ids.resize(static_cast<size_t>(std::max(count, 0)));
    return ids;
  }

  // The file as it is served: a cache of 16-bit floats, and activations in the type that goes with the blocks.
  std::string run(std::span<const int64_t> ids, const UseRows& use) const {
    library_->forget();
    Parameters parameters = call.context_default_params();
    const auto tokens = static_cast<int64_t>(ids.size());
    const auto context = static_cast<uint32_t>((tokens + kSteps - 1) / kSteps * kSteps);
    const ContextSizes sizes{context, kMicro, kMicro};
    std::memcpy(parameters.bytes, &sizes, sizeof sizes);
    const std::unique_ptr<OpaqueContext, void (*)(OpaqueContext*)> made(call.init_from_model(model_, parameters),
                                                                        call.free);
    if (!made) return library_->complaint();
    if (call.n_ctx(made.get()) < tokens || call.n_batch(made.get()) != kMicro) {
      return "its parameters lie elsewhere than in the versions that are known here";
    }
    if (adapter_ && !put_on(made.get())) return library_->complaint();
    call.set_n_threads(made.get(), library_->threads(), library_->threads());
    return decode(made.get(), ids, use);
  }

 private:
  bool put_on(OpaqueContext* context) const {
    if (!call.set_adapters_lora) return call.set_adapter_lora(context, adapter_, 1) == 0;
    OpaqueAdapter* adapters[] = {adapter_};
    float scales[] = {1};
    return call.set_adapters_lora(context, adapters, 1, scales) == 0;
  }

  std::string decode(OpaqueContext* context, std::span<const int64_t> ids, const UseRows& use) const {
    struct Held {
      const Functions& call;
      TokenBatch batch;
      ~Held() { call.batch_free(batch); }
    } held{call, call.batch_init(kMicro, 0, 1)};
    TokenBatch& batch = held.batch;
    const int64_t width = vocab();
    std::vector<float> rows(kMicro * width);
    for (size_t first = 0; first < ids.size(); first += kMicro) {
      batch.count = static_cast<int32_t>(std::min<size_t>(kMicro, ids.size() - first));
      for (int32_t i = 0; i < batch.count; ++i) {
        batch.tokens[i] = static_cast<int32_t>(ids[first + i]);
        batch.positions[i] = static_cast<int32_t>(first) + i;
        batch.sequence_counts[i] = 1, batch.sequences[i][0] = 0, batch.wanted[i] = 1;
      }
      if (const int32_t code = call.decode(context, batch); code != 0)
        return fmt::format("llama_decode gives {}: {}", code, library_->complaint());
      for (int32_t i = 0; i < batch.count; ++i) {
        const float* row = call.get_logits_ith(context, i);
        if (!row) return fmt::format("it has no logits for a token: {}", library_->complaint());
        std::copy_n(row, width, rows.begin() + i * width);
      }
      use(static_cast<int64_t>(first), at::from_blob(rows.data(), {batch.count, width}, at::TensorOptions(at::kFloat)));
    }
    return "";
  }

  std::shared_ptr<Library> library_;
  const Functions& call;
  OpaqueModel* model_ = nullptr;
  OpaqueAdapter* adapter_ = nullptr;
  std::string refusal_;
};

}  // namespace

CallWitness llama_cpp_library(const fs::path& path, int threads, std::string_view key) {
  const auto library = std::make_shared<Library>(path, threads, key);
  return [library](const fs::path& file, const fs::path& adapter) {
    const auto model = std::make_shared<LoadedModel>(library, file, adapter);
    if (!model->refusal().empty()) return Witness{.refusal = model->refusal()};
    return Witness{
        .vocab = model->vocab(),
        .ids =
            [model](const std::vector<std::string>& texts) {
              std::vector<std::vector<int32_t>> all;
              for (const auto& text : texts) all.push_back(model->encode(text));
              return all;
            },
        .logits = [model](std::span<const int64_t> ids, const UseRows& use) { return model->run(ids, use); }};
  };
}

}  // namespace prentice

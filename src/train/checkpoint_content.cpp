#include "train/checkpoint_content.h"

#include <ATen/Parallel.h>

#include "core/error.h"
#include "io/file.h"
#include "train/tensor_file.h"
#include "train/trained_weights.h"

namespace prentice {

namespace {

constexpr const char* kOptimizerFile = "optimizer-00000-of-00001.safetensors";

uint64_t bytes_of(const NamedTensors& tensors) {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += tensor.nbytes();
  return bytes;
}

}  // namespace

uint64_t CheckpointContent::bytes() const { return bytes_of(trainable) + bytes_of(optimizer.state()); }

void CheckpointContent::write(const std::filesystem::path& folder, const TrainerState& state, double lr,
                              const std::string& order) const {
  store_trained(folder, trainable);
  write_tensors(folder / kOptimizerFile, optimizer.state());
  const Json data = Json::Object{{"position", state.step},
                                 {"steps", source.size()},
                                 {"steps_in_epoch", source.steps_in_epoch()},
                                 {"order_sha256", order}};
  write_file_durably(folder / "data.json", data.dump(1) + "\n");
  Json trainer = to_json(state);
  trainer["lr"] = lr;
  write_file_durably(folder / "trainer.json", trainer.dump(1) + "\n");
  write_file_durably(folder / "recipe.yaml", recipe);
}

TrainerState CheckpointContent::restore(const std::filesystem::path& folder) const {
  return with_context(ExitCode::model, folder.string(), [&] {
    restore_trained(folder, trainable);
    read_tensors(folder / kOptimizerFile, optimizer.state());
    return trainer_state_from(Json::parse_file(folder / "trainer.json"));
  });
}

Provenance provenance_of(const TrainConfig& config, const StepSource& source) {
  return {.recipe = config.recipe,
          .inputs = config.inputs ? config.inputs->get() : std::vector<InputHash>{},
          .order = source.order_hash(),
          .world_size = 1,
          .threads = at::get_num_threads(),
          .binary = binary_sha256()};
}

}  // namespace prentice

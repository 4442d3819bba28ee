#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "io/json.h"
#include "io/safetensors.h"

namespace prentice {

ShardPlan plan_shards(const std::vector<TensorInfo>& tensors, uint64_t max_shard_bytes, const std::string& name) {
  ShardPlan plan;
  uint64_t in_shard = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t bytes = tensor_bytes(tensors[i].dtype, tensors[i].shape);
    if (plan.tensors.empty() || (in_shard > 0 && in_shard + bytes > max_shard_bytes)) {
      plan.tensors.emplace_back();
      in_shard = 0;
    }
    plan.tensors.back().push_back(i);
    in_shard += bytes;
    plan.total_bytes += bytes;
  }
  const size_t count = plan.tensors.size();
  if (count <= 1) {
    plan.tensors.resize(1);
    plan.files = {name + ".safetensors"};
    return plan;
  }
  for (size_t i = 1; i <= count; ++i)
    plan.files.push_back(fmt::format("{}-{:05}-of-{:05}.safetensors", name, i, count));
  return plan;
}

std::string shard_index_json(const ShardPlan& plan, const std::vector<TensorInfo>& tensors) {
  std::map<std::string, std::string> shard_of;
  int64_t parameters = 0;
  for (size_t shard = 0; shard < plan.files.size(); ++shard) {
    for (const size_t i : plan.tensors[shard]) {
      shard_of[tensors[i].name] = plan.files[shard];
      parameters += element_count(tensors[i].shape);
    }
  }
  Json::Object weight_map;
  for (const auto& [tensor, file] : shard_of) weight_map.emplace_back(tensor, file);
  const Json::Object metadata{{"total_parameters", parameters}, {"total_size", plan.total_bytes}};
  return Json(Json::Object{{"metadata", metadata}, {"weight_map", std::move(weight_map)}}).dump(2) + "\n";
}

}  // namespace prentice

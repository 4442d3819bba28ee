#include "recipes/console.h"

#include <fmt/format.h>

#include "core/error.h"
#include "recipes/units.h"

namespace prentice {

void print_already_done(const std::filesystem::path& out, const Invocation& invocation) {
  if (invocation.inner) {
    fmt::print(stderr, "  already done\n");
    return;
  }
  if (invocation.json) {
    fmt::print("{}\n", Json(Json::Object{{"schema", 1}, {"out", out.string()}, {"state", "already done"}}).dump());
  } else {
    fmt::print("already done: {} (--fresh runs it again)\n", out.string());
  }
}

void print_products(const Products& products, const std::filesystem::path& out, const Invocation& invocation) {
  if (invocation.json) {
    Json::Array written;
    for (const auto& product : products.written) {
      written.push_back(Json::Object{{"path", (out / product.name).string()}, {"bytes", product.bytes}});
    }
    const Json result =
        Json::Object{{"schema", 1}, {"out", out.string()}, {"verified", products.verified}, {"products", written}};
    fmt::print("{}\n", result.dump());
    return;
  }
  if (invocation.inner) return;  // the pipeline tells it at its end
  for (const auto& product : products.written) {
    fmt::print("  {:<9} {}\n", human_bytes(static_cast<double>(product.bytes)), (out / product.name).string());
  }
  if (products.verified) fmt::print("  verified: container, tensors, token list, template (verify.json)\n");
  for (const auto& warning : products.warnings) fmt::print(stderr, "warning: {}\n", warning);
}

void refuse_plan(const Plan& plan) {
  fail(ExitCode::memory,
       fmt::format("the plan does not fit: {} are needed at the peak, {} has {}",
                   human_bytes(static_cast<double>(plan.memory.peak())), plan.hardware.name,
                   human_bytes(static_cast<double>(plan.hardware.memory_bytes))),
       "smaller: train.micro_tokens, data.max_length or train.recompute=block; `prentice plan` shows each phase");
}

IfDifferent run_policy(const Invocation& invocation) {
  return invocation.inner ? IfDifferent::move_aside : IfDifferent::refuse;
}

}  // namespace prentice

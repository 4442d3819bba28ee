#include "adapter/qat.h"

#include <utility>

#include "adapter/lora.h"
#include "config/adapter_rules.h"
#include "core/error.h"

namespace prentice {

namespace {

// An adapter that a run goes on from brings its own kind, which no reader of recipes has seen.
void require_plain(const Model& model) {
  std::string has;
  visit_loras(model, [&](const std::string&, const Lora& lora) {
    if (lora.dropout > 0) has = "dropout";
    if (lora.first_a.defined()) has = "PiSSA's start";
    if (lora.magnitude.defined()) has = "magnitudes (DoRA)";
  });
  if (model.embed_lora || model.head.lora) has = "factors on the embedding or the head";
  if (!model.saved.base.empty()) has = "modules saved whole";
  if (!has.empty()) fail(ExitCode::usage, "the adapter has " + has + ", which " + std::string(kNotWithQat));
}

const ServedType* type_of(const ServedTypes& types, const std::string& module) {
  const auto found = types.find(module + ".weight");
  return found == types.end() ? nullptr : &found->second;
}

void serve(Linear& linear, const ServedTypes& types) {
  const ServedType* type = type_of(types, linear.name);
  if (type == nullptr) return;
  with_context(ExitCode::model, "adapter.qat: " + linear.name, [&] {
    const Tensor& weight = dense_weight(linear);
    if (linear.lora) {
      linear.lora->served = std::make_shared<ServedWeight>(weight, *type);
    } else {
      std::visit([&](auto held) { linear.weight = std::move(held); }, encode_served(weight, *type));
    }
  });
}

// A tied head reads the embedding's.
void serve_ends(Model& model, const ServedTypes& types) {
  if (!model.spec.tied_head) serve(model.head, types);
  const ServedType* type = type_of(types, model.spec.names.embed);
  if (type == nullptr) return;
  HeldWeight held = with_context(ExitCode::model, "adapter.qat: " + model.spec.names.embed,
                                 [&] { return encode_served(model.embed, *type); });
  if (model.spec.tied_head) std::visit([&](auto of_head) { model.head.weight = std::move(of_head); }, held);
  if (auto* blocks = std::get_if<GgufBlocks>(&held)) {
    model.embed = Tensor(), model.embed_blocks = std::move(*blocks);
  } else {
    model.embed = std::get<Dense>(held).weight;
  }
}

}  // namespace

void train_as_served(Model& model, const ServedTypes& types) {
  if (types.empty()) return;
  require_plain(model);
  for (Layer& layer : model.layers) {
    visit_layer(
        layer,
        [&](Projection& projection) {
          projection.joined = Tensor();  // its parts have types of their own
          for (Linear& part : projection.parts) serve(part, types);
        },
        [&](Linear& linear) { serve(linear, types); }, [](Norm&) {});
  }
  serve_ends(model, types);
}

}  // namespace prentice

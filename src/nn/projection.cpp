#include "nn/projection.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/gguf_product.h"
#include "kernels/matrix_product.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Where each tensor of a part stands in the operation's list of inputs; -1 = absent. Input 0 is x.
struct Slots {
  int64_t weight = -1, bias = -1, a = -1, b = -1;
};

// What does not take part in differentiation.
struct ProductPlan : torch::CustomClassHolder {
  std::vector<Slots> slots;
  std::vector<double> scales;
  std::vector<std::optional<DropoutKey>> dropouts;
  std::vector<bool> folded;                      // parts whose weight has the factors in it
  std::vector<std::optional<Packed>> quantized;  // weights that have no slot
  std::vector<int64_t> widths;                   // out features of each part
  Tensor joined;
  at::ScalarType type;  // in which products are taken
};

Tensor cast(const Tensor& tensor, at::ScalarType type) { return tensor.defined() ? tensor.to(type) : tensor; }

const Tensor& at_slot(const variable_list& inputs, int64_t slot) {
  static const Tensor kAbsent;
  return slot < 0 ? kAbsent : inputs[static_cast<size_t>(slot)];
}

Tensor dropped(const Tensor& x, const std::optional<DropoutKey>& key) { return key ? apply_dropout(x, *key) : x; }

template <class Rule>
std::vector<size_t> adapted_parts(const ProductPlan& plan, Rule&& rule) {
  std::vector<size_t> parts;
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    if (plan.slots[i].a >= 0 && rule(i)) parts.push_back(i);
  }
  return parts;
}

// Adapted parts that read x itself; they share one skinny product. Parts with dropout stand alone.
std::vector<size_t> sharing_parts(const ProductPlan& plan) {
  return adapted_parts(plan, [&](size_t i) { return !plan.dropouts[i] && !plan.folded[i]; });
}

std::vector<size_t> dropping_parts(const ProductPlan& plan) {
  return adapted_parts(plan, [&](size_t i) { return plan.dropouts[i].has_value(); });
}

// They too read x itself and share a skinny product, of which only gradients are made.
std::vector<size_t> folded_parts(const ProductPlan& plan) {
  return adapted_parts(plan, [&](size_t i) { return plan.folded[i]; });
}

// The A of these parts under each other: [sum of R, in].
Tensor stacked_a(const ProductPlan& plan, const variable_list& inputs, const std::vector<size_t>& parts) {
  std::vector<Tensor> stack;
  for (size_t i : parts) stack.push_back(at_slot(inputs, plan.slots[i].a).to(plan.type));
  return stack.size() == 1 ? stack[0] : at::cat(stack, 0);
}

// Of a quantized part it is made here, and gone with the next one.
Tensor weight_of(const ProductPlan& plan, const variable_list& inputs, size_t part) {
  const auto& quantized = plan.quantized[part];
  return quantized ? dequantized(*quantized, plan.type) : at_slot(inputs, plan.slots[part].weight).to(plan.type);
}

Tensor base_product(const ProductPlan& plan, const variable_list& inputs, const Tensor& x, size_t part) {
  const auto* blocks = plan.quantized[part] ? std::get_if<GgufBlocks>(&*plan.quantized[part]) : nullptr;
  const bool straight = blocks && worth_gguf_product(x, *blocks);
  Tensor product = straight ? gguf_product(x, *blocks) : product_transposed(x, weight_of(plan, inputs, part));
  const Tensor bias = cast(at_slot(inputs, plan.slots[part].bias), plan.type);
  return bias.defined() ? product.add_(bias) : product;
}

variable_list base_products(const ProductPlan& plan, const variable_list& inputs, const Tensor& x) {
  variable_list results;
  if (!plan.joined.defined()) {
    for (size_t i = 0; i < plan.slots.size(); ++i) results.push_back(base_product(plan, inputs, x, i));
    return results;
  }
  Tensor all = product_transposed(x, plan.joined.to(plan.type));
  int64_t column = 0;
  for (size_t i = 0; i < plan.slots.size(); ++i) {
    results.push_back(all.narrow(1, column, plan.widths[i]));
    column += plan.widths[i];
    const Tensor& bias = at_slot(inputs, plan.slots[i].bias);
    if (bias.defined()) results.back().add_(bias.to(plan.type));
  }
  return results;
}

// The matrix whose column ranges the gradients are, when they lie so in memory; undefined otherwise.
Tensor common_matrix(const variable_list& grads) {
  const Tensor& first = grads[0];
  int64_t width = 0;
  for (const Tensor& grad : grads) {
    if (!grad.is_alias_of(first) || grad.stride(1) != 1 || grad.stride(0) != first.stride(0) ||
        grad.storage_offset() != first.storage_offset() + width) {
      return {};
    }
    width += grad.size(1);
  }
  if (first.stride(0) < width) return {};
  return first.as_strided({first.size(0), width}, {first.stride(0), 1}, first.storage_offset());
}

// sum over parts of grad_i W_i
Tensor input_gradient(const ProductPlan& plan, const variable_list& saved, const variable_list& grads) {
  if (plan.joined.defined()) {
    const Tensor all = common_matrix(grads);
    if (all.defined()) return product_transposed(all, plan.joined.to(plan.type).t());
  }
  Tensor dx;
  for (size_t i = 0; i < grads.size(); ++i) {
    const Tensor weight = weight_of(plan, saved, i);
    dx.defined() ? dx.addmm_(grads[i], weight) : dx = product_transposed(grads[i], weight.t());
  }
  return dx;
}

// Adds the adapters' share to dx (when wanted) and gives the gradients of A and B of these parts, which read `input`
// (x, or x after dropout). `low` [T, sum of R] is input A^T of the forward pass.
void adapter_gradients(const ProductPlan& plan, const variable_list& saved, const variable_list& grads,
                       const std::vector<size_t>& parts, const Tensor& input, const Tensor& low, bool want_dx,
                       Tensor& dx, variable_list& results) {
  Tensor dlow = at::empty_like(low);
  int64_t row = 0;
  for (size_t i : parts) {
    const Tensor& b = at_slot(saved, plan.slots[i].b);
    const int64_t rank = b.size(1);
    Tensor slice = dlow.narrow(1, row, rank);
    at::mm_out(slice, grads[i], b.to(plan.type));
    slice.mul_(plan.scales[i]);
    results[plan.slots[i].b] = at::mm(grads[i].t(), low.narrow(1, row, rank)).mul_(plan.scales[i]).to(b.scalar_type());
    row += rank;
  }
  const Tensor da = at::mm(dlow.t(), input);
  row = 0;
  for (size_t i : parts) {
    const Tensor& a = at_slot(saved, plan.slots[i].a);
    results[plan.slots[i].a] = da.narrow(0, row, a.size(0)).to(a.scalar_type());
    row += a.size(0);
  }
  if (!want_dx) return;
  const Tensor stack = stacked_a(plan, saved, parts);
  const auto& key = plan.dropouts[parts[0]];
  key ? dx.add_(apply_dropout(at::mm(dlow, stack), *key)) : dx.addmm_(dlow, stack);
}

struct LinearProducts : torch::autograd::Function<LinearProducts> {
  static variable_list forward(AutogradContext* context, at::TensorList input_list,
                               const c10::intrusive_ptr<ProductPlan>& plan) {
    const at::AutoDispatchBelowADInplaceOrView plain;  // results are fresh matrices, not views to be tracked
    const variable_list inputs = input_list.vec();
    const Tensor x = inputs[0].to(plan->type);
    variable_list results = base_products(*plan, inputs, x);
    variable_list lows;
    const auto keep_low = [&](const std::vector<size_t>& parts, const Tensor& input) {
      lows.push_back(at::mm(input, stacked_a(*plan, inputs, parts).t()));
    };
    const auto add = [&](const std::vector<size_t>& parts, const Tensor& input) {
      keep_low(parts, input);
      int64_t row = 0;
      for (size_t i : parts) {
        const Tensor b = at_slot(inputs, plan->slots[i].b).to(plan->type);
        results[i].addmm_(lows.back().narrow(1, row, b.size(1)), b.t(), 1, plan->scales[i]);
        row += b.size(1);
      }
    };
    if (const auto parts = sharing_parts(*plan); !parts.empty()) add(parts, x);
    for (size_t i : dropping_parts(*plan)) add({i}, dropped(x, plan->dropouts[i]));
    if (const auto parts = folded_parts(*plan); !parts.empty()) keep_low(parts, x);

    variable_list to_save = inputs;
    bool needs_x = !lows.empty();
    for (const auto& slots : plan->slots) needs_x |= slots.weight >= 0 && inputs[slots.weight].requires_grad();
    if (!needs_x) to_save[0] = Tensor();
    to_save.insert(to_save.end(), lows.begin(), lows.end());
    context->save_for_backward(to_save);
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return results;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto holder = context->saved_data["plan"].toCapsule();
    const ProductPlan& plan = static_cast<const ProductPlan&>(*holder);
    const variable_list saved = context->get_saved_variables();
    const bool want_dx = context->needs_input_grad(0);
    size_t count = 1;
    for (const auto& slots : plan.slots) count += (slots.weight >= 0) + (slots.bias >= 0) + 2 * (slots.a >= 0);

    variable_list results(count + 1);  // one more for the plan itself
    Tensor dx;
    if (want_dx) dx = input_gradient(plan, saved, grads);
    const Tensor x = cast(saved[0], plan.type);
    for (size_t i = 0; i < plan.slots.size(); ++i) {
      const Slots& slots = plan.slots[i];
      if (slots.weight >= 0 && context->needs_input_grad(slots.weight)) {
        results[slots.weight] = at::mm(grads[i].t(), x).to(saved[slots.weight].scalar_type());
      }
      if (slots.bias >= 0 && context->needs_input_grad(slots.bias)) {
        results[slots.bias] = grads[i].sum(0).to(saved[slots.bias].scalar_type());
      }
    }
    size_t low = count;
    if (const auto parts = sharing_parts(plan); !parts.empty()) {
      adapter_gradients(plan, saved, grads, parts, x, saved[low++], want_dx, dx, results);
    }
    for (size_t i : dropping_parts(plan)) {
      adapter_gradients(plan, saved, grads, {i}, dropped(x, plan.dropouts[i]), saved[low++], want_dx, dx, results);
    }
    if (const auto parts = folded_parts(plan); !parts.empty()) {
      adapter_gradients(plan, saved, grads, parts, x, saved[low++], /*want_dx=*/false, dx, results);
    }
    results[0] = dx;
    return results;
  }
};

}  // namespace

ProductPart base_part(const Linear& linear) {
  if (is_quantized(linear)) return {.quantized = packed_weight(linear)};
  return {.weight = dense_weight(linear)};
}

std::vector<Tensor> products(const Tensor& x, const std::vector<ProductPart>& parts, const Tensor& joined) {
  auto plan = c10::make_intrusive<ProductPlan>();
  plan->joined = joined;
  plan->type = x.scalar_type();
  variable_list inputs = {x};
  const auto place = [&](const Tensor& tensor) -> int64_t {
    if (!tensor.defined()) return -1;
    inputs.push_back(tensor);
    return static_cast<int64_t>(inputs.size()) - 1;
  };
  for (const auto& part : parts) {
    plan->slots.push_back({place(part.weight), place(part.bias), place(part.a), place(part.b)});
    plan->scales.push_back(part.scale);
    plan->dropouts.push_back(part.dropout);
    plan->folded.push_back(part.folded);
    plan->quantized.push_back(part.quantized);
    plan->widths.push_back(part.quantized ? row_count(*part.quantized) : part.weight.size(0));
  }
  return LinearProducts::apply(at::TensorList(inputs), plan);
}

}  // namespace prentice

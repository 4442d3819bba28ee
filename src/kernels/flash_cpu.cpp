#include "kernels/flash_cpu.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <atomic>

#include "core/wide_type.h"
#include "kernels/attention_rows.h"
#include "kernels/meta_forms.h"
#include "kernels/operation.h"
#include "kernels/vector.h"

namespace prentice {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kQueryBlock = 128;  // its scores against 512 keys fill a second-level cache

struct Job {
  int64_t start, length, head;  // one head of one sequence
};

// Longest first, so that the last jobs to finish are short.
std::vector<Job> jobs_of(at::IntArrayRef starts, int64_t heads) {
  std::vector<Job> jobs;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    if (starts[s + 1] == starts[s]) continue;
    for (int64_t head = 0; head < heads; ++head) jobs.push_back({starts[s], starts[s + 1] - starts[s], head});
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.length > b.length; });
  return jobs;
}

constexpr int64_t kScoresWorthAThread = 1 << 15;

// Every worker takes the next job until none is left. Jobs write apart from each other, so the order cannot show.
template <class Body>
void run_jobs(const std::vector<Job>& jobs, Body&& body) {
  int64_t scores = 0;
  for (const Job& job : jobs) scores += job.length * job.length;
  const int64_t most = std::min<int64_t>(at::get_num_threads(), static_cast<int64_t>(jobs.size()));
  const int64_t workers = std::clamp<int64_t>(scores / kScoresWorthAThread, 1, std::max<int64_t>(most, 1));
  std::atomic<size_t> next = 0;
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    const at::AutoDispatchBelowADInplaceOrView plain;  // of this thread
    body([&]() -> const Job* {
      const size_t taken = next.fetch_add(1);
      return taken < jobs.size() ? &jobs[taken] : nullptr;
    });
  });
}

// Rows of one head: [length, E], E side by side.
Tensor head_rows(const Tensor& x, int64_t start, int64_t length, int64_t head) {
  return x.narrow(0, start, length).select(1, head);
}

ScoreBlock block_at(int64_t first_query, const Job& job, int64_t window, int64_t stride) {
  const int64_t queries = std::min(kQueryBlock, job.length - first_query);
  const int64_t first_key = window > 0 ? std::max<int64_t>(0, first_query - window + 1) : 0;
  return {.queries = queries,
          .keys = first_query + queries - first_key,
          .stride = stride,
          .first_query = first_query,
          .first_key = first_key,
          .window = window};
}

int64_t longest(const std::vector<Job>& jobs) { return jobs.empty() ? 1 : jobs[0].length; }

// The first queries x keys of a scratch matrix.
Tensor corner(const Tensor& scratch, const ScoreBlock& block) {
  return scratch.narrow(0, 0, block.queries).narrow(1, 0, block.keys);
}

// out [T, H, E]; log_sums [H, T]
template <class T>
void forward_jobs(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<Job>& jobs, double scale,
                  int64_t window, const Tensor& out, const Tensor& log_sums) {
  const int64_t group = q.size(1) / k.size(1);
  run_jobs(jobs, [&](const auto& next_job) {
    const Tensor scratch = at::empty({kQueryBlock, longest(jobs)}, q.options());
    while (const Job* job = next_job()) {
      T* sums = log_sums.data_ptr<T>() + job->head * q.size(0) + job->start;
      for (int64_t first = 0; first < job->length; first += kQueryBlock) {
        const ScoreBlock block = block_at(first, *job, window, scratch.stride(0));
        const int64_t row = job->start + first, key = job->start + block.first_key;
        Tensor scores = corner(scratch, block);
        at::mm_out(scores, head_rows(q, row, block.queries, job->head),
                   head_rows(k, key, block.keys, job->head / group).t());
        softmax_rows(block, scores.data_ptr<T>(), scale, sums + first);
        Tensor mixed = head_rows(out, row, block.queries, job->head);
        at::mm_out(mixed, scores, head_rows(v, key, block.keys, job->head / group));
      }
    }
  });
}

// deltas[r] = grad_r . out_r of the rows of a block
template <class T>
void row_products(const Tensor& grad, const Tensor& out, T* deltas) {
  const auto g = const_rows_of<T>(grad), o = const_rows_of<T>(out);
  for (int64_t r = 0; r < grad.size(0); ++r) {
    T sum = 0;
    for (int64_t j = 0; j < grad.size(1); ++j) sum += g[r][j] * o[r][j];
    deltas[r] = sum;
  }
}

struct Gradients {
  Tensor q, k, v;  // [T, H, E] each: those of k and v are apart for every query head
};

template <class T>
void backward_jobs(const variable_list& saved, const Tensor& grad, const std::vector<Job>& jobs, double scale,
                   int64_t window, Gradients& results) {
  const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sums = saved[4];
  const int64_t group = q.size(1) / k.size(1);
  run_jobs(jobs, [&](const auto& next_job) {
    const Tensor share_scratch = at::empty({kQueryBlock, longest(jobs)}, q.options());
    const Tensor grad_scratch = at::empty({kQueryBlock, longest(jobs)}, q.options());
    T deltas[kQueryBlock];
    while (const Job* job = next_job()) {
      const T* sums = log_sums.const_data_ptr<T>() + job->head * q.size(0) + job->start;
      for (int64_t first = 0; first < job->length; first += kQueryBlock) {
        const ScoreBlock block = block_at(first, *job, window, share_scratch.stride(0));
        const int64_t row = job->start + first, key = job->start + block.first_key;
        const Tensor queries = head_rows(q, row, block.queries, job->head);
        const Tensor dout = head_rows(grad, row, block.queries, job->head);
        const Tensor keys = head_rows(k, key, block.keys, job->head / group);
        const Tensor values = head_rows(v, key, block.keys, job->head / group);
        Tensor shares = corner(share_scratch, block), dscores = corner(grad_scratch, block);
        at::mm_out(shares, queries, keys.t());
        shares_rows(block, shares.data_ptr<T>(), scale, sums + first);
        at::mm_out(dscores, dout, values.t());
        row_products(dout, head_rows(out, row, block.queries, job->head), deltas);
        score_gradient_rows(block, shares.const_data_ptr<T>(), dscores.data_ptr<T>(), scale, deltas);
        Tensor dq = head_rows(results.q, row, block.queries, job->head);
        at::mm_out(dq, dscores, keys);
        head_rows(results.k, key, block.keys, job->head).addmm_(dscores.t(), queries);
        head_rows(results.v, key, block.keys, job->head).addmm_(shares.t(), dout);
      }
    }
  });
}

// [T, H, E] -> [T, K, E]: query heads that share a key head add up.
Tensor summed_groups(const Tensor& x, int64_t key_heads) {
  return x.size(1) == key_heads ? x : x.unflatten(1, {key_heads, x.size(1) / key_heads}).sum(2);
}

using Starts = at::IntArrayRef;
using Forward = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, Starts, double, int64_t);
using Backward = std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                    const Tensor&, const Tensor&, Starts, double, int64_t);

// The result and the logarithms of the sums of every row, [H, T], both still to be filled.
std::tuple<Tensor, Tensor> forward_meta(const Tensor& q, const Tensor&, const Tensor&, Starts, double, int64_t) {
  const auto wide = wide_type(q);
  return {at::empty(q.sizes(), q.options()), at::empty({q.size(1), q.size(0)}, q.options().dtype(wide))};
}

std::tuple<Tensor, Tensor> forward_cpu(const Tensor& q, const Tensor& k, const Tensor& v, Starts starts, double scale,
                                       int64_t window) {
  const auto results = forward_meta(q, k, v, starts, scale, window);
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "flash_attention_cpu", [&] {
    forward_jobs<scalar_t>(q, k, v, jobs_of(starts, q.size(1)), scale, window, std::get<0>(results),
                           std::get<1>(results));
  });
  return results;
}

std::tuple<Tensor, Tensor, Tensor> backward_meta(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
                                                 const Tensor&, const Tensor&, Starts, double, int64_t) {
  const Gradients results{at::empty(q.sizes(), q.options()), at::empty(q.sizes(), q.options()),
                          at::empty(q.sizes(), q.options())};
  return {results.q, summed_groups(results.k, k.size(1)), summed_groups(results.v, v.size(1))};
}

std::tuple<Tensor, Tensor, Tensor> backward_cpu(const Tensor& grad, const Tensor& q, const Tensor& k, const Tensor& v,
                                                const Tensor& out, const Tensor& log_sums, Starts starts, double scale,
                                                int64_t window) {
  Gradients results{at::empty(q.sizes(), q.options()), at::zeros(q.sizes(), q.options()),
                    at::zeros(q.sizes(), q.options())};
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "flash_attention_cpu_backward", [&] {
    backward_jobs<scalar_t>({q, k, v, out, log_sums}, grad, jobs_of(starts, q.size(1)), scale, window, results);
  });
  return {results.q, summed_groups(results.k, k.size(1)), summed_groups(results.v, k.size(1))};
}

struct FlashAttention : torch::autograd::Function<FlashAttention> {
  static Tensor forward(AutogradContext* context, const Tensor& any_q, const Tensor& any_k, const Tensor& any_v,
                        const std::vector<int64_t>& starts, double scale, int64_t window) {
    static const auto forward = operation<Forward>("prentice::flash_attention_forward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const Tensor q = with_dense_rows(any_q), k = with_dense_rows(any_k), v = with_dense_rows(any_v);
    const auto [out, log_sums] = forward.call(q, k, v, starts, scale, window);
    context->save_for_backward({q, k, v, out, log_sums});
    context->saved_data["starts"] = starts;
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    static const auto backward = operation<Backward>("prentice::flash_attention_backward");
    const at::AutoDispatchBelowADInplaceOrView plain;
    const auto saved = context->get_saved_variables();
    const auto starts = context->saved_data["starts"].toIntVector();
    const auto [dq, dk, dv] =
        backward.call(with_dense_rows(grads[0]), saved[0], saved[1], saved[2], saved[3], saved[4], starts,
                      context->saved_data["scale"].toDouble(), context->saved_data["window"].toInt());
    return {dq, dk, dv, Tensor(), Tensor(), Tensor()};
  }
};

Tensor with_gradient(const Tensor& q, const Tensor& k, const Tensor& v, Starts starts, double scale, int64_t window) {
  return FlashAttention::apply(q, k, v, starts.vec(), scale, window);
}

}  // namespace

Tensor flash_attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& starts,
                           double scale, int64_t window) {
  static const auto flash = operation<Tensor(const Tensor&, const Tensor&, const Tensor&, Starts, double, int64_t)>(
      "prentice::flash_attention");
  const auto type = q.scalar_type();
  const bool on_cpu = q.is_cpu() || (q.is_meta() && MetaStandsForCpu::now());
  if (!on_cpu || type == at::kFloat || type == at::kDouble) return flash.call(q, k, v, starts, scale, window);
  return flash.call(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), starts, scale, window).to(type);
}

}  // namespace prentice

TORCH_LIBRARY_FRAGMENT(prentice, library) {
  library.def("flash_attention(Tensor q, Tensor k, Tensor v, int[] starts, float scale, int window) -> Tensor");
  library.def(
      "flash_attention_forward(Tensor q, Tensor k, Tensor v, int[] starts, float scale, int window) -> (Tensor, "
      "Tensor)");
  library.def(
      "flash_attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor log_sums, int[] starts, "
      "float scale, int window) -> (Tensor, Tensor, Tensor)");
  prentice::implement(library, "flash_attention", &prentice::with_gradient);
  prentice::implement_pass(library, "flash_attention_forward", &prentice::forward_cpu, &prentice::forward_meta);
  prentice::implement_pass(library, "flash_attention_backward", &prentice::backward_cpu, &prentice::backward_meta);
}

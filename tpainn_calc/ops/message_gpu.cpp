// tpainn::message for tensors on NVIDIA GPUs: the kernels of message.cu behind the operators'
// signatures. See message.cpp for what they compute.

#include "gpu.h"
#include "message.h"

#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>

namespace tpainn {
namespace {

constexpr int64_t kWarp = 32, kMaxChannels = 512;
// threads of a block: more where there are so few rows that they leave processors idle
constexpr int64_t kThreads = 256, kManyThreads = 512, kFewRows = 400;

// Structs of message.cu, member by member.
struct EdgeList {
  const int64_t *centre, *neighbour, *start, *order;
  const double *vec;
  int64_t n_row, n_edge;
};

struct Shape {
  int F, intervals;
  double cutoff;
};

EdgeList by_centre(const Edges &E) {
  return {E.centre, E.neighbour, E.centre_start, E.centre_order, E.vec, E.n_centre, E.n_edge};
}

EdgeList by_neighbour(const Edges &E) {
  return {E.centre,      E.neighbour, E.neighbour_start, E.neighbour_order,
          E.vec,         E.n_neighbour, E.n_edge};
}

gpu::Grid grid_of(int64_t rows, int64_t F) {
  TORCH_CHECK(F <= kMaxChannels, "tpainn::message: at most ", kMaxChannels,
              " features on a GPU; use the plain kernel");
  const int64_t x = (F + kWarp - 1) / kWarp * kWarp;
  const int64_t y = std::max<int64_t>(1, (rows < kFewRows ? kManyThreads : kThreads) / x);
  return {static_cast<unsigned>(rows), static_cast<unsigned>(x), static_cast<unsigned>(y)};
}

// What a call works on: contiguous, checked, on one device.
struct Call {
  Tensor x, table, vec;
  OptTensor v;
  Edges E;
  Shape shape;
  c10::DeviceGuard guard;

  Call(const Tensor &x_, const OptTensor &v_, const Tensor &vec_, const Tensor &table_,
       double cutoff, at::TensorList index)
      : x(x_.contiguous()), table(table_.contiguous()), vec(vec_.contiguous()), v(contiguous(v_)),
        E(unpack(vec, index)), shape{}, guard(x.device()) {
    check_network(x, v, table, E);
    for (const Tensor &t : {table, vec, index[0], index[3], index[5]})
      TORCH_CHECK(t.device() == x.device(), "tpainn::message: tensors on several devices");
    shape = {static_cast<int>(x.size(1) / 3), static_cast<int>(table.size(0) - 3), cutoff};
  }

  int64_t F() const { return shape.F; }

  void launch(const char *kernel, int64_t rows, std::vector<void *> arguments) const {
    gpu::launch(kernel, x.scalar_type(), grid_of(rows, F()), std::move(arguments));
  }
};

const void *data(const Tensor &t) { return t.defined() ? t.const_data_ptr() : nullptr; }
const void *data(const OptTensor &t) { return t ? data(*t) : nullptr; }

// Compressed index of `key`: start (n + 1) and order (edges). Waits for nothing.
std::tuple<Tensor, Tensor> compress_gpu(const Tensor &key, int64_t n) {
  auto [sorted, order] = key.sort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  const Tensor rows = at::arange(n + 1, key.options());
  return {at::searchsorted(sorted, rows), order};
}

std::tuple<Tensor, Tensor> message_gpu(const Tensor &x, const OptTensor &v, const Tensor &vec,
                                       const Tensor &table, double cutoff, at::TensorList index) {
  Call c(x, v, vec, table, cutoff, index);
  Tensor ds = at::empty({c.E.n_centre, c.F()}, c.x.options());
  Tensor dv = at::empty({c.E.n_centre, 3, c.F()}, c.x.options());
  EdgeList edges = by_centre(c.E);
  const void *px = data(c.x), *pv = data(c.v), *pt = data(c.table);
  void *ps = ds.mutable_data_ptr(), *pd = dv.mutable_data_ptr();
  c.launch("message", c.E.n_centre, {&edges, &c.shape, &px, &pv, &pt, &ps, &pd});
  return {ds, dv};
}

// Gradient by the table along (hx, hv, he), or the first derivative's where these are undefined.
Tensor table_gradient(const Call &c, const Tensor &gs, const Tensor &gv, const Tensor &hx,
                      const OptTensor &hv, const Tensor &he) {
  Shape shape = c.shape;
  Tensor interval = at::empty({c.E.n_edge}, c.vec.options().dtype(at::kInt));
  void *pi = interval.mutable_data_ptr();
  const double *vec = c.E.vec;
  int64_t n_edge = c.E.n_edge;
  const auto blocks = static_cast<unsigned>((n_edge + kThreads - 1) / kThreads);
  gpu::launch("table_interval", c.x.scalar_type(), {blocks, static_cast<unsigned>(kThreads)},
              {&vec, &n_edge, &shape, &pi});
  const auto [start, order] = compress_gpu(interval, shape.intervals + 1);
  const Tensor start64 = start.to(at::kLong);
  EdgeList edges{c.E.centre,
                 c.E.neighbour,
                 start64.const_data_ptr<int64_t>(),
                 order.const_data_ptr<int64_t>(),
                 c.E.vec,
                 shape.intervals,
                 n_edge};
  Tensor partial = at::empty({shape.intervals, 4, 3 * c.F()}, c.x.options());
  const void *ps = data(gs), *pg = data(gv), *px = data(c.x), *pv = data(c.v), *ph = data(hx),
             *pm = data(hv), *pe = data(he);
  void *pp = partial.mutable_data_ptr();
  c.launch("table_gradient", shape.intervals,
           {&edges, &shape, &ps, &pg, &px, &pv, &ph, &pm, &pe, &pp});
  Tensor gradient = at::zeros_like(c.table);
  for (int64_t row = 0; row < 4; ++row)
    gradient.narrow(0, row, shape.intervals).add_(partial.select(1, row));
  return gradient;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> message_backward_gpu(
    const Tensor &gs_, const Tensor &gv_, const Tensor &x, const OptTensor &v, const Tensor &vec,
    const Tensor &table, double cutoff, at::TensorList index, bool with_table) {
  Call c(x, v, vec, table, cutoff, index);
  const Tensor gs = gs_.contiguous(), gv = gv_.contiguous();
  // the third part of gx belongs to v
  Tensor gx = c.v ? at::empty_like(c.x) : at::zeros_like(c.x), ge = at::zeros_like(c.vec);
  Tensor gvn = c.v ? at::empty_like(*c.v) : at::empty({0}, c.x.options());
  EdgeList edges = by_neighbour(c.E);
  const void *ps = data(gs), *pg = data(gv), *px = data(c.x), *pv = data(c.v), *pt = data(c.table);
  void *ox = gx.mutable_data_ptr(), *ov = gvn.mutable_data_ptr(), *oe = ge.mutable_data_ptr();
  c.launch("message_backward", c.E.n_neighbour,
           {&edges, &c.shape, &ps, &pg, &px, &pv, &pt, &ox, &ov, &oe});
  Tensor gt = with_table ? table_gradient(c, gs, gv, Tensor(), std::nullopt, Tensor())
                         : at::empty({0}, c.x.options());
  return {gx, gvn, ge, gt};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> message_backward2_gpu(
    const Tensor &hx_, const OptTensor &hv_, const Tensor &he_, const Tensor &gs_,
    const Tensor &gv_, const Tensor &x, const OptTensor &v, const Tensor &vec, const Tensor &table,
    double cutoff, at::TensorList index, bool with_table, bool with_edges) {
  TORCH_CHECK(!with_edges,
              "tpainn::message has no second derivatives by edge vectors (Hessians) on GPUs: "
              "compute them on the CPU, or with the plain kernel");
  Call c(x, v, vec, table, cutoff, index);
  const Tensor gs = gs_.contiguous(), gv = gv_.contiguous(), hx = hx_.contiguous(),
               he = he_.contiguous();
  const OptTensor hv = c.v ? contiguous(hv_) : std::nullopt;
  Tensor ds = at::empty_like(gs), dv = at::empty_like(gv);
  Tensor gx = c.v ? at::empty_like(c.x) : at::zeros_like(c.x);
  Tensor gvn = c.v ? at::empty_like(*c.v) : at::empty({0}, c.x.options());
  const void *ps = data(gs), *pg = data(gv), *px = data(c.x), *pv = data(c.v), *pt = data(c.table),
             *ph = data(hx), *pm = data(hv), *pe = data(he);
  void *os = ds.mutable_data_ptr(), *od = dv.mutable_data_ptr();
  void *ox = gx.mutable_data_ptr(), *ov = gvn.mutable_data_ptr();
  EdgeList centres = by_centre(c.E), neighbours = by_neighbour(c.E);
  c.launch("tangent", c.E.n_centre,
           {&centres, &c.shape, &px, &pv, &pt, &ph, &pm, &pe, &os, &od});
  c.launch("message_backward2", c.E.n_neighbour,
           {&neighbours, &c.shape, &ps, &pg, &px, &pv, &pt, &ph, &pm, &pe, &ox, &ov});
  Tensor gt = with_table ? table_gradient(c, gs, gv, hx, hv, he) : at::empty({0}, c.x.options());
  return {ds, dv, gx, gvn, at::empty({0}, c.vec.options()), gt};
}

Tensor edge_forces_gpu(const Tensor &gradient_, at::TensorList index) {
  const Tensor gradient = gradient_.contiguous();
  const Edges E = unpack(gradient, index);
  const c10::DeviceGuard guard(gradient.device());
  Tensor forces = at::empty({E.n_neighbour, 3}, gradient.options());
  const double *pg = E.vec;
  const int64_t *cs = E.centre_start, *co = E.centre_order, *ns = E.neighbour_start,
                *no = E.neighbour_order;
  int64_t n_centre = E.n_centre, n_atom = E.n_neighbour;
  void *out = forces.mutable_data_ptr();
  const auto blocks = static_cast<unsigned>((n_atom * kWarp + kThreads - 1) / kThreads);
  gpu::launch("edge_forces", at::kFloat, {blocks, static_cast<unsigned>(kThreads)},
              {&pg, &cs, &co, &ns, &no, &n_centre, &n_atom, &out});
  return forces;
}

}  // namespace

#ifndef TPAINN_EMULATED  // the tests run the kernels on the CPU, under another name
TORCH_LIBRARY_IMPL(tpainn, CUDA, m) {
  m.impl("message", message_gpu);
  m.impl("message_backward", message_backward_gpu);
  m.impl("message_backward2", message_backward2_gpu);
  m.impl("compress", compress_gpu);
  m.impl("edge_forces", edge_forces_gpu);
}

// Why the kernels cannot run on the current GPU; empty if they can.
TORCH_LIBRARY_FRAGMENT(tpainn, m) { m.def("gpu_problem() -> str", gpu::problem); }
#endif

}  // namespace tpainn

// What the CPU's and the GPU's implementations of tpainn::message share.

#pragma once

#include <ATen/ATen.h>

#include <optional>

namespace tpainn {

using at::Tensor;
using OptTensor = std::optional<Tensor>;

// The edge list with both compressed indices. All index tensors are int64 and contiguous.
struct Edges {
  const int64_t *centre, *neighbour;
  const int64_t *centre_start, *centre_order;
  const int64_t *neighbour_start, *neighbour_order;
  const double *vec;
  int64_t n_centre, n_neighbour, n_edge;
};

// Index tensors travel as one list so that the operators keep a short signature:
// centre, neighbour, centre_start, centre_order, neighbour_start, neighbour_order.
inline Edges unpack(const Tensor &vec, at::TensorList index) {
  TORCH_CHECK(index.size() == 6, "tpainn::message: expected 6 index tensors");
  for (const Tensor &t : index)
    TORCH_CHECK(t.scalar_type() == at::kLong && t.is_contiguous(),
                "tpainn::message: index tensors must be contiguous int64");
  TORCH_CHECK(vec.scalar_type() == at::kDouble && vec.is_contiguous() && vec.dim() == 2 &&
                  vec.size(1) == 3 && vec.size(0) == index[0].numel(),
              "tpainn::message: edge_vec must be contiguous float64 (edges, 3)");
  return Edges{index[0].const_data_ptr<int64_t>(), index[1].const_data_ptr<int64_t>(),
               index[2].const_data_ptr<int64_t>(), index[3].const_data_ptr<int64_t>(),
               index[4].const_data_ptr<int64_t>(), index[5].const_data_ptr<int64_t>(),
               vec.const_data_ptr<double>(),       index[2].numel() - 1,
               index[4].numel() - 1,               vec.size(0)};
}

inline void check_network(const Tensor &x, const OptTensor &v, const Tensor &table, const Edges &E) {
  TORCH_CHECK(x.dim() == 2 && x.size(1) % 3 == 0 && x.size(0) == E.n_neighbour,
              "tpainn::message: x must be (nodes, 3F)");
  TORCH_CHECK(table.dim() == 2 && table.size(0) > 3 && table.size(1) == x.size(1) &&
                  table.scalar_type() == x.scalar_type(),
              "tpainn::message: table must be (intervals + 3, 3F) of the same type as x");
  TORCH_CHECK(!v || (v->dim() == 3 && v->size(0) == x.size(0) && v->size(1) == 3 &&
                     3 * v->size(2) == x.size(1) && v->scalar_type() == x.scalar_type()),
              "tpainn::message: v must be (nodes, 3, F) of the same type as x");
}

template <typename T>
const T *pointer(const OptTensor &t) {
  return t ? t->const_data_ptr<T>() : nullptr;
}

inline OptTensor contiguous(const OptTensor &t) {
  return t && t->defined() ? OptTensor(t->contiguous()) : std::nullopt;
}

}  // namespace tpainn

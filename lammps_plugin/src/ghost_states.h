/* SPDX-License-Identifier: GPL-2.0-only

   The autograd function between two blocks in the "exchange" mode: forward brings the states of
   ghosts from the ranks that own them, backward returns their gradients to these ranks. With it,
   one backward pass per rank gives the gradient of the energy of all ranks.

   Every rank calls it equally often and in the same order: also a rank without atoms, whose
   tensors have no rows but are still part of the graph. */

#ifndef TPAINN_GHOST_STATES_H
#define TPAINN_GHOST_STATES_H

#include "exported_model.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace tpainn {

struct GhostStates : torch::autograd::Function<GhostStates> {
  static at::Tensor forward(torch::autograd::AutogradContext *ctx, const at::Tensor &own,
                            const Graph *graph, StateExchange *exchange) {
    ctx->saved_data["graph"] = reinterpret_cast<int64_t>(graph);
    ctx->saved_data["exchange"] = reinterpret_cast<int64_t>(exchange);
    at::Tensor rows = at::empty({graph->n_node, own.size(1)}, own.options().device(at::kCPU));
    rows.narrow(0, 0, graph->n_centre).copy_(own);
    exchange->forward(rows.mutable_data_ptr(), *graph, rows.size(1) * rows.element_size());
    return rows.to(own.device());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx,
                                                 const torch::autograd::variable_list &gradients) {
    const auto *graph = reinterpret_cast<const Graph *>(ctx->saved_data["graph"].toInt());
    auto *exchange = reinterpret_cast<StateExchange *>(ctx->saved_data["exchange"].toInt());
    // a copy: the exchange adds in place, and autograd may still need what it handed in
    at::Tensor rows = at::empty(gradients[0].sizes(), gradients[0].options().device(at::kCPU))
                          .copy_(gradients[0]);
    exchange->reverse(rows.mutable_data_ptr(), *graph, rows.size(1) * rows.element_size(),
                      rows.scalar_type() == at::kDouble);
    return {rows.narrow(0, 0, graph->n_centre).to(gradients[0].device()), at::Tensor(),
            at::Tensor()};
  }
};

} // namespace tpainn

#endif

// The kernels of message.cu on the current NVIDIA GPU, compiled at run time by NVRTC.
//
// NVRTC comes with every CUDA build of torch, the driver with every GPU. Both are opened at run
// time, so one library serves machines with and without a GPU, and needs no CUDA toolkit.

#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tpainn::gpu {

struct Grid {
  unsigned blocks, x, y = 1;
};

// Launches a kernel on torch's current stream of the current device; throws c10::Error.
// `arguments` are pointers to the kernel's arguments, in their order.
void launch(const char *kernel, c10::ScalarType real, const Grid &grid,
            std::vector<void *> arguments);

// Why kernels cannot be launched on the current device; empty if they can.
std::string problem();

}  // namespace tpainn::gpu

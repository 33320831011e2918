// The GPU's kernels and their launches, run on the CPU: a stand-in for gpu.cpp.
//
// Every thread of a block is a context of its own; they take turns at barriers and at exchanges
// within a warp, as on a GPU in lockstep. Blocks run one after another, so that a static variable
// is what shared memory is.

#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define TPAINN_EMULATED
#include "message_gpu.cpp"

namespace {

struct Index {
  unsigned x = 0, y = 0;
};
Index threadIdx, blockIdx, blockDim;

constexpr unsigned kLanes = 32;
constexpr size_t kStack = 64 * 1024;

// A barrier for some threads: those that arrive wait until all have.
struct Barrier {
  unsigned size = 0, arrived = 0;
  unsigned long generation = 0;
};

struct Thread {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{new char[kStack]};
  Index index;
  bool done = false;
};

std::vector<std::unique_ptr<Thread>> threads;
std::vector<Barrier> warps;
std::vector<double> lanes;
Barrier block;
ucontext_t scheduler;
Thread *current = nullptr;
std::function<void()> body;

unsigned rank() { return threadIdx.y * blockDim.x + threadIdx.x; }

void wait(Barrier &barrier) {
  const auto generation = barrier.generation;
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  while (barrier.generation == generation) {
    swapcontext(&current->context, &scheduler);
    threadIdx = current->index;
  }
}

void enter() {
  threadIdx = current->index;
  body();
  current->done = true;
}

void __syncthreads() { wait(block); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  const unsigned me = rank();
  Barrier &warp = warps[me / kLanes];
  lanes[me] = static_cast<double>(value);
  wait(warp);
  const T other = static_cast<T>(lanes[me ^ mask]);
  wait(warp);
  return other;
}

void run_block(const std::function<void()> &kernel) {
  const unsigned n = blockDim.x * blockDim.y;
  while (threads.size() < n) threads.push_back(std::make_unique<Thread>());
  warps.assign(n / kLanes, Barrier{kLanes});
  lanes.assign(n, 0.0);
  block = Barrier{n};
  body = kernel;
  for (unsigned t = 0; t < n; ++t) {
    Thread &thread = *threads[t];
    thread.index = {t % blockDim.x, t / blockDim.x};
    thread.done = false;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStack;
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, enter, 0);
  }
  for (unsigned left = n; left;) {
    left = 0;
    for (unsigned t = 0; t < n; ++t) {
      current = threads[t].get();
      if (current->done) continue;
      swapcontext(&scheduler, &current->context);
      left += !current->done;
    }
  }
}

#define __device__ static
#define __shared__ static
#define KERNEL static void
namespace single {
typedef float Real;
#include "message.cu"
}  // namespace single
#undef CHUNK
#undef MAX_THREADS
#undef MAX_WARPS
#undef FILTER
namespace dual {
typedef double Real;
#include "message.cu"
}  // namespace dual

// Calls a kernel with the values that an array of pointers points to.
template <typename... A, size_t... N>
void call(void (*kernel)(A...), void **p, std::index_sequence<N...>) {
  kernel(*static_cast<std::remove_reference_t<A> *>(p[N])...);
}

template <typename... A>
std::function<void()> bound(void (*kernel)(A...), void **p) {
  return [=] { call(kernel, p, std::index_sequence_for<A...>()); };
}

std::function<void()> find(const std::string &name, bool is_double, void **p) {
#define CANDIDATE(k) \
  if (name == #k) return is_double ? bound(dual::k, p) : bound(single::k, p);
  CANDIDATE(message)
  CANDIDATE(message_backward)
  CANDIDATE(tangent)
  CANDIDATE(message_backward2)
  CANDIDATE(table_interval)
  CANDIDATE(table_gradient)
  CANDIDATE(edge_forces)
#undef CANDIDATE
  TORCH_CHECK(false, "no kernel ", name);
}

}  // namespace

namespace tpainn::gpu {

void launch(const char *kernel, c10::ScalarType real, const Grid &grid,
            std::vector<void *> arguments) {
  TORCH_CHECK(grid.x % kLanes == 0 && grid.x * grid.y <= 512, "block of a wrong shape");
  blockDim = {grid.x, grid.y};
  const auto run = find(kernel, real == c10::ScalarType::Double, arguments.data());
  for (blockIdx.x = 0; blockIdx.x < grid.blocks; ++blockIdx.x) run_block(run);
}

}  // namespace tpainn::gpu

namespace tpainn {

TORCH_LIBRARY(tpainn_emulated, m) {
  m.def(
      "message(Tensor x, Tensor? v, Tensor edge_vec, Tensor table, float cutoff, Tensor[] index)"
      " -> (Tensor, Tensor)",
      message_gpu);
  m.def(
      "message_backward(Tensor gs, Tensor gv, Tensor x, Tensor? v, Tensor edge_vec, Tensor table,"
      " float cutoff, Tensor[] index, bool with_table) -> (Tensor, Tensor, Tensor, Tensor)",
      message_backward_gpu);
  m.def(
      "message_backward2(Tensor hx, Tensor? hv, Tensor he, Tensor gs, Tensor gv, Tensor x,"
      " Tensor? v, Tensor edge_vec, Tensor table, float cutoff, Tensor[] index, bool with_table,"
      " bool with_edges) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
      message_backward2_gpu);
  m.def("compress(Tensor key, int n) -> (Tensor start, Tensor order)", compress_gpu);
  m.def("edge_forces(Tensor gradient, Tensor[] index) -> Tensor", edge_forces_gpu);
}

}  // namespace tpainn

#include "gpu.h"

#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <glob.h>

#include <map>
#include <mutex>
#include <tuple>

// the text of message.cu
asm(".pushsection .rodata\n"
    ".global tpainn_kernel_source\n.hidden tpainn_kernel_source\n"
    "tpainn_kernel_source:\n.incbin \"" TPAINN_KERNEL_SOURCE "\"\n.byte 0\n.popsection\n");
extern "C" const char tpainn_kernel_source[];

namespace tpainn::gpu {
namespace {

// torch's own, from libtorch_cuda: part of its stable C interface
constexpr const char *kCurrentStream = "aoti_torch_get_current_cuda_stream";
constexpr int kComputeCapabilityMajor = 75, kComputeCapabilityMinor = 76;  // CUdevice_attribute

// The few functions that are used, with the handles as void *.
struct Driver {
  int (*cuCtxGetDevice)(int *);
  int (*cuDeviceGetAttribute)(int *, int, int);
  int (*cuModuleLoadData)(void **, const void *);
  int (*cuModuleGetFunction)(void **, void *, const char *);
  int (*cuLaunchKernel)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, void *, void **, void **);
  int (*cuGetErrorString)(int, const char **);
  int32_t (*current_stream)(int32_t, void **);
};

struct Compiler {
  int (*nvrtcCreateProgram)(void **, const char *, const char *, int, const char *const *,
                            const char *const *);
  int (*nvrtcCompileProgram)(void *, int, const char *const *);
  int (*nvrtcGetProgramLogSize)(void *, size_t *);
  int (*nvrtcGetProgramLog)(void *, char *);
  int (*nvrtcGetCUBINSize)(void *, size_t *);
  int (*nvrtcGetCUBIN)(void *, char *);
  int (*nvrtcDestroyProgram)(void **);
};

template <typename Function>
void find(void *library, const char *name, Function &function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  TORCH_CHECK(function, "no function ", name, " in the CUDA libraries of this torch");
}

const Driver &driver() {
  static const Driver loaded = [] {
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
    TORCH_CHECK(cuda, "no NVIDIA driver (libcuda.so.1)");
    Driver d{};
    find(cuda, "cuCtxGetDevice", d.cuCtxGetDevice);
    find(cuda, "cuDeviceGetAttribute", d.cuDeviceGetAttribute);
    find(cuda, "cuModuleLoadData", d.cuModuleLoadData);
    find(cuda, "cuModuleGetFunction", d.cuModuleGetFunction);
    find(cuda, "cuLaunchKernel", d.cuLaunchKernel);
    find(cuda, "cuGetErrorString", d.cuGetErrorString);
    void *torch_cuda = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    find(torch_cuda ? torch_cuda : RTLD_DEFAULT, kCurrentStream, d.current_stream);
    return d;
  }();
  return loaded;
}

// NVRTC lies beside torch's other CUDA libraries, or on the loader's path.
void *open_nvrtc() {
  for (const char *name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"})
    if (void *library = dlopen(name, RTLD_NOW)) return library;
  Dl_info torch{};
  std::string folder;
  if (dladdr(reinterpret_cast<void *>(&c10::toString), &torch) && torch.dli_fname) {
    folder = torch.dli_fname;  // .../torch/lib/libc10.so
    folder.resize(folder.rfind('/'));
  }
  for (const char *pattern : {"/../../nvidia/*/lib/libnvrtc.so.*", "/libnvrtc*.so*"}) {
    glob_t found{};
    void *library = nullptr;
    if (glob((folder + pattern).c_str(), 0, nullptr, &found) == 0)
      for (size_t n = 0; n < found.gl_pathc && !library; ++n)
        if (!std::string(found.gl_pathv[n]).ends_with(".alt") &&
            std::string(found.gl_pathv[n]).find("builtins") == std::string::npos)
          library = dlopen(found.gl_pathv[n], RTLD_NOW);
    globfree(&found);
    if (library) return library;
  }
  return nullptr;
}

const Compiler &compiler() {
  static const Compiler loaded = [] {
    void *nvrtc = open_nvrtc();
    TORCH_CHECK(nvrtc, "no NVRTC (libnvrtc.so) beside this torch; pip install nvidia-cuda-nvrtc");
    Compiler c{};
    find(nvrtc, "nvrtcCreateProgram", c.nvrtcCreateProgram);
    find(nvrtc, "nvrtcCompileProgram", c.nvrtcCompileProgram);
    find(nvrtc, "nvrtcGetProgramLogSize", c.nvrtcGetProgramLogSize);
    find(nvrtc, "nvrtcGetProgramLog", c.nvrtcGetProgramLog);
    find(nvrtc, "nvrtcGetCUBINSize", c.nvrtcGetCUBINSize);
    find(nvrtc, "nvrtcGetCUBIN", c.nvrtcGetCUBIN);
    find(nvrtc, "nvrtcDestroyProgram", c.nvrtcDestroyProgram);
    return c;
  }();
  return loaded;
}

void check(int status, const char *what) {
  if (status == 0) return;
  const char *text = nullptr;
  driver().cuGetErrorString(status, &text);
  TORCH_CHECK(false, "CUDA: ", what, ": ", text ? text : std::to_string(status));
}

// Machine code of all kernels for compute capability `capability`, such as 90.
std::vector<char> compile(int capability, const char *real) {
  const Compiler &c = compiler();
  void *program = nullptr;
  TORCH_CHECK(c.nvrtcCreateProgram(&program, tpainn_kernel_source, "message.cu", 0, nullptr,
                                   nullptr) == 0,
              "NVRTC does not start");
  const std::string architecture = "--gpu-architecture=sm_" + std::to_string(capability);
  const std::string type = std::string("-DReal=") + real;
  const char *options[]{architecture.c_str(), type.c_str(), "--std=c++17"};
  const int status = c.nvrtcCompileProgram(program, 3, options);
  size_t size = 0;
  if (status != 0) {
    c.nvrtcGetProgramLogSize(program, &size);
    std::string log(size, ' ');
    c.nvrtcGetProgramLog(program, log.data());
    c.nvrtcDestroyProgram(&program);
    TORCH_CHECK(false, "NVRTC could not compile the kernels for ", architecture, ": ",
                log.substr(0, 500));
  }
  c.nvrtcGetCUBINSize(program, &size);
  std::vector<char> code(size);
  c.nvrtcGetCUBIN(program, code.data());
  c.nvrtcDestroyProgram(&program);
  return code;
}

int current_device() {
  int device = 0;
  check(driver().cuCtxGetDevice(&device), "no current device");
  return device;
}

// Modules stay loaded: they are few, and the driver may be gone before this library is.
void *function_of(int device, c10::ScalarType real, const std::string &kernel) {
  static std::mutex mutex;
  static auto &modules = *new std::map<std::pair<int, c10::ScalarType>, void *>;
  static auto &functions = *new std::map<std::tuple<int, c10::ScalarType, std::string>, void *>;
  const std::lock_guard lock(mutex);
  void *&function = functions[{device, real, kernel}];
  if (function) return function;
  void *&module = modules[{device, real}];
  if (!module) {
    int major = 0, minor = 0;
    check(driver().cuDeviceGetAttribute(&major, kComputeCapabilityMajor, device), "attribute");
    check(driver().cuDeviceGetAttribute(&minor, kComputeCapabilityMinor, device), "attribute");
    const char *name = real == c10::ScalarType::Double ? "double" : "float";
    const std::vector<char> code = compile(10 * major + minor, name);
    check(driver().cuModuleLoadData(&module, code.data()), "cannot load the kernels");
  }
  check(driver().cuModuleGetFunction(&function, module, kernel.c_str()), kernel.c_str());
  return function;
}

}  // namespace

void launch(const char *kernel, c10::ScalarType real, const Grid &grid,
            std::vector<void *> arguments) {
  if (grid.blocks == 0) return;
  const int device = current_device();
  void *function = function_of(device, real, kernel), *stream = nullptr;
  TORCH_CHECK(driver().current_stream(device, &stream) == 0, "CUDA: torch has no stream");
  check(driver().cuLaunchKernel(function, grid.blocks, 1, 1, grid.x, grid.y, 1, 0, stream,
                                arguments.data(), nullptr),
        kernel);
}

std::string problem() {
  try {
    function_of(current_device(), c10::ScalarType::Float, "message");
    return "";
  } catch (const c10::Error &error) {
    return error.what_without_backtrace();
  }
}

}  // namespace tpainn::gpu

// What Python sees: the kernels under the name striate_NAME, through the instruction set chosen when this is loaded.
#include <Python.h>

#include "kernels.h"
#include "threads.h"

namespace striate {

GompParallel gomp_parallel = nullptr;

namespace {

// Best first; the last one runs everywhere.
const Kernels* const kSets[] = {
#if defined(__x86_64__)
    &avx512_kernels,
    &avx2_kernels,
#endif
    &plain_kernels,
};
constexpr int kSetCount = sizeof(kSets) / sizeof(kSets[0]);

bool runs_here(const Kernels* set) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (set == &avx512_kernels)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  if (set == &avx2_kernels) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return set == &plain_kernels;
}

const Kernels* best() {
  for (const Kernels* set : kSets)
    if (runs_here(set)) return set;
  return &plain_kernels;
}

const Kernels* active = best();

// The kernels of bfloat16 products that go with the instruction set in use, or null.
const Bfloat16Kernels* bfloat16_kernels() {
#if defined(STRIATE_AVX512_BF16)
  if (active == &avx512_kernels && __builtin_cpu_supports("avx512bf16")) return &avx512_bf16_kernels;
#endif
  return nullptr;
}

}  // namespace
}  // namespace striate

#if defined(_WIN32)
#define STRIATE_EXPORT extern "C" __declspec(dllexport)
#else
#define STRIATE_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// The instruction set in use.
STRIATE_EXPORT const char* striate_instruction_set() { return striate::active->name; }

// Packed weights have a multiple of so many output channels.
STRIATE_EXPORT int64_t striate_panel() { return striate::active->panel; }

// The number-th instruction set that this processor has, best first; null past the last.
STRIATE_EXPORT const char* striate_available(int number) {
  for (const striate::Kernels* set : striate::kSets)
    if (striate::runs_here(set) && number-- == 0) return set->name;
  return nullptr;
}

// Use another instruction set from now on; returns 0 if this processor does not have it.
STRIATE_EXPORT int striate_use_instruction_set(const char* name) {
  for (const striate::Kernels* set : striate::kSets) {
    if (__builtin_strcmp(set->name, name) == 0 && striate::runs_here(set)) {
      striate::active = set;
      return 1;
    }
  }
  return 0;
}

// Whether the kernels of bfloat16 products may be called.
STRIATE_EXPORT int striate_multiplies_bf16() { return striate::bfloat16_kernels() != nullptr; }

// Hand over the OpenMP runtime's GOMP_parallel; null: one thread.
STRIATE_EXPORT void striate_use_threads_of(void* gomp_parallel) {
  striate::gomp_parallel = reinterpret_cast<striate::GompParallel>(gomp_parallel);
}

#define STRIATE_FORWARD(name, parameters, arguments) \
  STRIATE_EXPORT void striate_##name parameters { striate::active->name arguments; }
#define STRIATE_FORWARD_BFLOAT16(name, parameters, arguments) \
  STRIATE_EXPORT void striate_##name parameters { striate::bfloat16_kernels()->name arguments; }
namespace striate {
STRIATE_KERNELS(STRIATE_FORWARD)
STRIATE_BFLOAT16_KERNELS(STRIATE_FORWARD_BFLOAT16)
}

// An empty Python module: the functions above are called through ctypes, which needs no PyTorch headers to build.
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
PyMODINIT_FUNC PyInit__native() { return PyModule_Create(&definition); }

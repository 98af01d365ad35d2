// The kernels for processors with AVX2 and fused multiply-add.
#if defined(__x86_64__)
#define STRIATE_LANES 8
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "every_kernel.h"

namespace striate {
const Kernels avx2_kernels = STRIATE_KERNEL_SET("avx2");
}
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

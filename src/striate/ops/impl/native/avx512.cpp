// The kernels for processors with AVX-512 (F, BW, DQ, VL).
#if defined(__x86_64__)
#define STRIATE_LANES 16
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#endif
#include "every_kernel.h"

namespace striate {
const Kernels avx512_kernels = STRIATE_KERNEL_SET("avx512");
}
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

// The kernels whose products are of bfloat16, for processors with AVX-512 and its instructions for them (AVX512_BF16).
#include "kernels.h"
#if defined(STRIATE_AVX512_BF16)
#define STRIATE_LANES 16
#define STRIATE_BFLOAT16_PRODUCTS
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,prefer-vector-width=512"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,prefer-vector-width=512")
#endif
#include "bfloat16_products.h"
#include "direct_conv.h"
#include "winograd.h"

namespace striate {
#define STRIATE_ADDRESS(name, parameters, arguments) name,
const Bfloat16Kernels avx512_bf16_kernels = {STRIATE_BFLOAT16_KERNELS(STRIATE_ADDRESS)};
}  // namespace striate
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif

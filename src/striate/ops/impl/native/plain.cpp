// The kernels for every processor; the compiler uses what its default target has (SSE2 on x86-64, NEON on ARM).
#include "every_kernel.h"

namespace striate {
const Kernels plain_kernels = STRIATE_KERNEL_SET("plain");
}

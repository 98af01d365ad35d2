// Included by each instruction set's file, after it has set the compiler's target: compiles all kernels for it.
#pragma once
#include "kernels.h"
#include "conv_transpose.h"
#include "deform.h"
#include "direct_conv.h"
#include "grouped.h"
#include "linked_conv.h"
#include "local_response_norm.h"
#include "max_pool.h"
#include "scaled_tanh.h"
#include "small_network.h"
#include "winograd.h"

namespace striate {
#define STRIATE_ADDRESS(name, parameters, arguments) name,
#define STRIATE_KERNEL_SET(title) {title, kPanel, STRIATE_KERNELS(STRIATE_ADDRESS)}
}  // namespace striate

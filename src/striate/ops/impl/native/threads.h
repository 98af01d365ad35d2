// Threads of the OpenMP runtime that PyTorch has loaded, never a second pool.
//
// Nothing here is compiled with OpenMP: the runtime's entry point GOMP_parallel (which GNU's, LLVM's and Intel's have)
// is looked up in the running process and handed over. Without one, everything runs on the calling thread.
#pragma once
#include <cstdint>

namespace striate {

using GompParallel = void (*)(void (*body)(void*), void* data, unsigned threads, unsigned flags);
extern GompParallel gomp_parallel;

namespace {

// Call body(begin, end) for pieces of 0 .. count, each `grain` long but the last, on up to `threads` threads.
// Which thread takes which piece is open; the pieces are not.
template <class Body>
inline void parallel_for(int64_t count, int64_t grain, int threads, const Body& body) {
  const int64_t pieces = (count + grain - 1) / grain;
  if (threads <= 1 || pieces <= 1 || gomp_parallel == nullptr) {
    for (int64_t begin = 0; begin < count; begin += grain) body(begin, begin + grain < count ? begin + grain : count);
    return;
  }
  struct Work {
    const Body* body;
    int64_t count, grain, next;
  } work{&body, count, grain, 0};
  gomp_parallel(
      [](void* data) {
        Work& shared = *static_cast<Work*>(data);
        for (;;) {
          const int64_t begin = __atomic_fetch_add(&shared.next, shared.grain, __ATOMIC_RELAXED);
          if (begin >= shared.count) return;
          const int64_t end = begin + shared.grain;
          (*shared.body)(begin, end < shared.count ? end : shared.count);
        }
      },
      &work, static_cast<unsigned>(pieces < threads ? pieces : threads), 0);
}

// A grain that gives each thread several pieces, so that a late thread delays little, but none below `least`.
inline int64_t even_grain(int64_t count, int threads, int64_t least) {
  const int64_t grain = count / (threads > 1 ? 4 * threads : 1) + 1;
  return grain < least ? least : grain;
}

}  // namespace
}  // namespace striate

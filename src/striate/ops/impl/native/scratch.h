// Working memory that a thread keeps between calls: asking the system for megabytes anew costs more than a convolution.
#pragma once
#include <cstdint>
#include <cstdlib>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace striate {
namespace {

class Scratch {
 public:
  ~Scratch() { std::free(memory_); }

  // At least `count` floats, aligned for vectors; what was in them is lost. Null if there is no memory.
  float* floats(int64_t count) {
    if (count > count_) {
      std::free(memory_);
      const int64_t page = 2 << 20, bytes = (count * 4 + page - 1) / page * page;
      memory_ = static_cast<float*>(std::aligned_alloc(page, bytes));
      count_ = memory_ == nullptr ? 0 : bytes / 4;
#if defined(__linux__)
      if (memory_ != nullptr) madvise(memory_, bytes, MADV_HUGEPAGE);
#endif
    }
    return memory_;
  }

 private:
  float* memory_ = nullptr;
  int64_t count_ = 0;
};

// A row of zeros to read where an image has ended.
struct Zeros {
  float* row;
  explicit Zeros(int64_t count) : row(static_cast<float*>(std::calloc(count, sizeof(float)))) {}
  ~Zeros() { std::free(row); }
  Zeros(const Zeros&) = delete;
  Zeros& operator=(const Zeros&) = delete;
};

}  // namespace
}  // namespace striate

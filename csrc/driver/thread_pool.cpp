// Plain threads, for where there is no libgomp (and where ThreadSanitizer looks): workers spin for some
// microseconds between regions and then sleep.
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "driver/parallel.h"

namespace fusedstep {
namespace {

constexpr int spins = 20000;  // about 20 microseconds to 100

thread_local bool inside = false;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  void run(std::int64_t n, int threads, RangeFn fn, void* context) {
    const std::unique_lock busy(one_region_, std::try_to_lock);
    if (!busy) return fn(context, 0, n);  // another Python thread has the workers
    grow(threads - 1);
    region_ = {n, threads, fn, context};
    left_.store(int(workers_.size()), std::memory_order_relaxed);
    {
      const std::lock_guard lock(sleep_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    work(0);
    while (left_.load(std::memory_order_acquire) != 0) pause();
  }

 private:
  struct Region {
    std::int64_t n;
    int threads;
    RangeFn fn;
    void* context;
  };

  void grow(int workers) {
    while (int(workers_.size()) < workers) {
      const int k = int(workers_.size()) + 1;
      workers_.emplace_back([this, k, seen = generation_.load()]() mutable { serve(k, seen); }).detach();
    }
  }

  void serve(int k, unsigned seen) {
    for (;;) {
      seen = next(seen);
      if (k < region_.threads) work(k);
      left_.fetch_sub(1, std::memory_order_release);  // idle workers too: the region is theirs to read until here
    }
  }

  unsigned next(unsigned seen) {
    for (int i = 0; i < spins; ++i, pause())
      if (const unsigned now = generation_.load(std::memory_order_acquire); now != seen) return now;
    std::unique_lock lock(sleep_);
    wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
    return generation_.load(std::memory_order_acquire);
  }

  void work(int k) {
    inside = true;
    region_.fn(region_.context, part(region_.n, region_.threads, k), part(region_.n, region_.threads, k + 1));
    inside = false;
  }

  std::mutex one_region_, sleep_;
  std::condition_variable wake_;
  std::atomic<unsigned> generation_{0};
  std::atomic<int> left_{0};
  Region region_{};
  std::vector<std::thread> workers_;
};

// Never destroyed: at exit the process ends with its workers asleep, which no order of destructors can upset.
Pool& pool() {
  static Pool* const forever = new Pool;
  return *forever;
}

const Backend backend{
    "threads", [](std::int64_t n, int threads, RangeFn fn, void* context) { pool().run(n, threads, fn, context); },
    [] { return std::numeric_limits<int>::max(); }, [] { return inside; }};

}  // namespace

const Backend& thread_pool_backend() { return backend; }

}  // namespace fusedstep

// A pool of plain threads. It is fast even if thread pools of other libraries (BLAS, torch) use the same cores.
//
// A region is one parallel loop. Each thread of a region has a share of the loop's range. The share is cut into pieces.
// When a thread has finished its own pieces, it takes pieces of other threads. So the region does not wait for a thread
// whose core is occupied by a thread of another library. An idle thread polls for some microseconds and then sleeps.
// While it polls, it sometimes yields its core.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "machine/parallel.h"

namespace fusedstep {
namespace {

constexpr int max_threads = 1024;
constexpr int pieces = 4;                                 // number of pieces in a share
constexpr int polls = 16;                                 // number of polls between two yields of the core
constexpr auto patience = std::chrono::microseconds(50);  // how long an idle worker polls before it sleeps

thread_local bool inside = false;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The pieces of one thread's share that no thread has taken yet. The upper half of `left_` is the number of the
/// region. The lower half is the number of pieces that are left. A late thread may still have the number of an earlier
/// region, and then takes nothing. A region ends when all its pieces are done.
class alignas(64) Share {
 public:
  void deal(unsigned region) { left_.store(std::uint64_t(region) << 32 | pieces, std::memory_order_release); }

  /// Takes a piece and returns its number, which is 0 for the first piece. Returns -1 if no piece is left, or if the
  /// share belongs to another region.
  int take(unsigned region) {
    std::uint64_t left = left_.load(std::memory_order_acquire);
    while (unsigned(left >> 32) == region && unsigned(left) > 0)
      if (left_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) return pieces - int(unsigned(left));
    return -1;
  }

 private:
  std::atomic<std::uint64_t> left_{0};
};

class Pool {
 public:
  void run(std::int64_t n, int threads, RangeFn fn, void* context) {
    const std::unique_lock busy(one_region_, std::try_to_lock);
    if (!busy) return fn(context, 0, n);  // another Python thread is using the workers
    threads = std::min(threads, max_threads);
    grow(threads - 1);
    n_ = n, fn_ = fn, context_ = context;
    threads_.store(threads, std::memory_order_relaxed);
    unfinished_.store(threads * pieces, std::memory_order_relaxed);
    const unsigned region = region_.load(std::memory_order_relaxed) + 1;
    for (int k = 0; k < threads; ++k) shares_[k].deal(region);
    region_.store(region, std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst) > 0) region_.notify_all();
    work(0, region);
    for (int i = 1; unfinished_.load(std::memory_order_acquire) != 0; ++i) i % polls ? pause() : void(sched_yield());
  }

 private:
  /// Starts threads until the pool has the number `workers`, or as many as the system allows. If a thread cannot be
  /// started, the other threads take its share.
  void grow(int workers) noexcept {
    try {
      for (; workers_ < workers; ++workers_)
        std::thread([this, k = workers_ + 1, seen = region_.load()]() mutable {
          for (;; work(k, seen)) seen = next(seen);
        }).detach();
    } catch (const std::exception&) {  // std::thread or its allocation failed; the next region tries again
    }
  }

  /// Waits until there is a newer region than `seen`, and returns its number.
  unsigned next(unsigned seen) {
    const auto start = std::chrono::steady_clock::now();
    do {
      for (int i = 0; i < polls; ++i, pause())
        if (const unsigned now = region_.load(std::memory_order_acquire); now != seen) return now;
      sched_yield();
    } while (std::chrono::steady_clock::now() - start < patience);
    asleep_.fetch_add(1, std::memory_order_seq_cst);
    region_.wait(seen, std::memory_order_seq_cst);
    asleep_.fetch_sub(1, std::memory_order_relaxed);
    return region_.load(std::memory_order_acquire);
  }

  /// Processes the pieces of thread k, and then the remaining pieces of the other threads.
  void work(int k, unsigned region) {
    const int threads = threads_.load(std::memory_order_relaxed);
    if (k >= threads) return;
    inside = true;
    for (int i = 0; i < threads; ++i) {
      const int owner = (k + i) % threads;
      for (int piece; (piece = shares_[owner].take(region)) >= 0;) do_piece(owner, piece);
    }
    inside = false;
  }

  void do_piece(int owner, int piece) {
    const std::int64_t first = part(n_, int(threads_), owner), size = part(n_, int(threads_), owner + 1) - first;
    const std::int64_t begin = first + part(size, pieces, piece), end = first + part(size, pieces, piece + 1);
    if (begin < end) fn_(context_, begin, end);
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
  }

  std::mutex one_region_;
  Share shares_[max_threads];
  std::atomic<unsigned> region_{0};
  std::atomic<int> asleep_{0}, unfinished_{0}, threads_{0};
  std::int64_t n_ = 0;
  RangeFn fn_ = nullptr;
  void* context_ = nullptr;
  int workers_ = 0;
};

// The pool is initialised by a constant expression, which cannot fail. The pool is never destroyed, because its threads
// exist until the process exits. So no thread can use a destroyed pool.
union Forever {
  constexpr Forever() : pool() {}
  ~Forever() {}
  Pool pool;
};
constinit Forever forever;

const Backend backend{
    "threads",
    [](std::int64_t n, int threads, RangeFn fn, void* context) { forever.pool.run(n, threads, fn, context); },
    [] { return std::numeric_limits<int>::max(); }, [] { return inside; }};

}  // namespace

const Backend& thread_pool_backend() { return backend; }

}  // namespace fusedstep

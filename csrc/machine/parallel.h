// The interface to all code that starts threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fusedstep {

/// One thread's part of the work: a contiguous range of the indices.
using RangeFn = void (*)(void* context, std::int64_t begin, std::int64_t end);

/// A way of running threads. `run` calls fn on disjoint ranges that cover [0, n), at most `threads` of them at once,
/// and returns when all are done. `limit` is the number of threads that its library would use here.
struct Backend {
  const char* name;
  void (*run)(std::int64_t n, int threads, RangeFn fn, void* context);
  int (*limit)();
  bool (*in_parallel)();
};

const Backend* openmp_backend();  // null if libgomp.so.1 cannot be loaded
bool openmp_is_loaded();          // in this process, by any library
const Backend& thread_pool_backend();

/// Chooses "openmp" or "threads"; returns false if that backend is not available. Without a choice, OpenMP is used in a
/// process that has loaded it already, and the thread pool otherwise.
bool use_backend(const char* name);
/// Checks again whether the process has loaded OpenMP.
void look_for_openmp();
const char* backend_name();

/// The user's limit (0: none); the machine's limit, which is the smaller of CPU affinity and quota.
void set_thread_limit(int threads);
void set_machine_limit(int threads);

/// Uses exactly this many threads and ignores the limits, for tests with more threads than cores. 0 restores the
/// limits.
void force_threads(int threads);

/// How many threads a region may use now: the least of all limits and `wanted` (0: no limit). It is 1 inside a parallel
/// region, and 1 in a forked child, because a fork does not copy the pool's threads.
int available_threads(int wanted = 0);

/// A second thread pays only from this many elements per thread. Below that, waking it takes as long as it saves, and
/// the arrays move between the caches of the cores.
constexpr std::int64_t elements_per_thread = 32768;

/// How many of the available threads pay for n elements.
inline int useful_threads(std::int64_t n, int threads) {
  return int(std::clamp<std::int64_t>(n / elements_per_thread, 1, threads));
}

void parallel_ranges(std::int64_t n, int threads, RangeFn fn, void* context);

/// Calls body(begin, end) on ranges that cover [0, n). The body must not throw.
template <class Body>
void parallel_for(std::int64_t n, int threads, Body&& body) {
  parallel_ranges(
      n, threads, [](void* b, std::int64_t begin, std::int64_t end) { (*static_cast<Body*>(b))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

/// The k-th of `parts` nearly equal ranges of [0, n).
inline std::int64_t part(std::int64_t n, int parts, int k) { return n / parts * k + (n % parts) * k / parts; }

}  // namespace fusedstep

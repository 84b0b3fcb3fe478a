// All code that starts threads is behind this interface.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fusedstep {

/// What one thread is given: a contiguous range of the indices.
using RangeFn = void (*)(void* context, std::int64_t begin, std::int64_t end);

/// A way of running threads. `run` calls fn on disjoint ranges that cover [0, n), at most `threads` at once,
/// and returns when all are done. `limit` is the number of threads its library would use here.
struct Backend {
  const char* name;
  void (*run)(std::int64_t n, int threads, RangeFn fn, void* context);
  int (*limit)();
  bool (*in_parallel)();
};

const Backend* openmp_backend();  // null where no libgomp.so.1 can be had
bool openmp_is_loaded();          // in this process, by any library
const Backend& thread_pool_backend();

/// "openmp" or "threads"; false where that backend cannot be had. Without a choice it is OpenMP in a process that uses
/// it already, and the thread pool otherwise.
bool use_backend(const char* name);
/// Looks again whether the process uses OpenMP by now.
void look_for_openmp();
const char* backend_name();

/// The user's limit (0: none) and the machine's: affinity and quota.
void set_thread_limit(int threads);
void set_machine_limit(int threads);

/// Uses exactly this many threads and ignores the limits, for tests with more threads than cores; 0 ends it.
void force_threads(int threads);

/// How many threads a region may use now: the least of all limits and `wanted` (0: no limit); 1 in a forked
/// child (whose copy of a thread pool has no threads) and inside a parallel region.
int available_threads(int wanted = 0);

/// A second thread gains little below this many elements for each: waking it takes as long as it saves, and in a loop
/// around the work the arrays travel between the cores' caches.
constexpr std::int64_t elements_per_thread = 32768;

/// How many of the available threads are worth starting for n elements.
inline int useful_threads(std::int64_t n, int threads) {
  return int(std::clamp<std::int64_t>(n / elements_per_thread, 1, threads));
}

void parallel_ranges(std::int64_t n, int threads, RangeFn fn, void* context);

/// body(begin, end) on ranges that cover [0, n). The body must not throw.
template <class Body>
void parallel_for(std::int64_t n, int threads, Body&& body) {
  parallel_ranges(
      n, threads, [](void* b, std::int64_t begin, std::int64_t end) { (*static_cast<Body*>(b))(begin, end); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

/// The k-th of `parts` nearly equal ranges of [0, n).
inline std::int64_t part(std::int64_t n, int parts, int k) { return n / parts * k + (n % parts) * k / parts; }

}  // namespace fusedstep

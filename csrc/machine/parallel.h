// The interface for parallel loops. Only the implementations of this interface start threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fusedstep {

/// Does one thread's part of the work. The part is a contiguous range of indices.
using RangeFn = void (*)(void* context, std::int64_t begin, std::int64_t end);

/// A back end is OpenMP or the thread pool. `run` calls fn on disjoint ranges that cover [0, n), in at most `threads`
/// threads. It returns when all calls are done. `limit` returns the number of threads that the back end's library would
/// use now. `in_parallel` returns true inside a parallel loop of this back end.
struct Backend {
  const char* name;
  void (*run)(std::int64_t n, int threads, RangeFn fn, void* context);
  int (*limit)();
  bool (*in_parallel)();
};

const Backend* openmp_backend();  // null if libgomp.so.1 cannot be loaded
bool openmp_is_loaded();          // true if any library has loaded libgomp.so.1 into this process
const Backend& thread_pool_backend();

/// Chooses "openmp" or "threads". Returns false if that back end is not available. Without a choice, OpenMP is used if
/// the process has already loaded it. Otherwise the thread pool is used.
bool use_backend(const char* name);
/// Checks again whether the process has loaded OpenMP.
void look_for_openmp();
const char* backend_name();

/// Set the user's limit (0: no limit) and the machine's limit. The machine's limit is the smaller of the number of
/// cores in the affinity mask and the CPU quota.
void set_thread_limit(int threads);
void set_machine_limit(int threads);

/// Uses exactly this number of threads and ignores the limits. Tests use it to run more threads than there are cores. 0
/// restores the limits.
void force_threads(int threads);

/// The number of threads that a parallel loop may use now. It is the smallest of all limits and `wanted` (0: no limit).
/// It is 1 inside a parallel loop. It is also 1 in a forked process, because a fork does not copy threads.
int available_threads(int wanted = 0);

/// Each thread gets at least this number of elements. With fewer elements, waking a second thread takes as long as the
/// thread saves, and the arrays move between the caches of the cores.
constexpr std::int64_t elements_per_thread = 32768;

/// The number of threads that is fastest for n elements; at most `threads`, the number of available threads.
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

/// The beginning of range k if [0, n) is divided into `parts` nearly equal ranges.
inline std::int64_t part(std::int64_t n, int parts, int k) { return n / parts * k + (n % parts) * k / parts; }

}  // namespace fusedstep

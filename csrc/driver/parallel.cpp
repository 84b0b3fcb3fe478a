#include "driver/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace fusedstep {
namespace {

std::atomic<const Backend*> chosen{nullptr};  // by the user
std::atomic<const Backend*> found{nullptr};
std::atomic<int> user_limit{0};
std::atomic<int> machine_limit{1};
std::atomic<int> forced{0};
std::atomic<bool> forked{false};

// An OpenMP region in a forked child waits for threads that the fork did not copy; there is no safe cure, so
// a child is serial.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] { forked = true; });

const Backend& backend() {
  if (const Backend* b = chosen) return *b;
  if (const Backend* b = found) return *b;
  look_for_openmp();
  return *found;
}

}  // namespace

bool use_backend(const char* name) {
  const Backend* b = nullptr;
  if (!std::strcmp(name, "openmp")) b = openmp_backend();
  if (!std::strcmp(name, "threads")) b = &thread_pool_backend();
  if (b) chosen = b;
  return b != nullptr;
}

void look_for_openmp() {
  if (chosen || (found && found != &thread_pool_backend())) return;
  const Backend* b = openmp_is_loaded() ? openmp_backend() : nullptr;
  found = b ? b : &thread_pool_backend();
}

const char* backend_name() { return backend().name; }
void set_thread_limit(int threads) { user_limit = threads; }
void set_machine_limit(int threads) { machine_limit = std::max(threads, 1); }

void force_threads(int threads) { forced = threads; }

int available_threads(int wanted) {
  if (forked || backend().in_parallel()) return 1;
  if (forced > 0) return forced;
  int threads = std::min<int>(machine_limit, backend().limit());
  for (const int limit : {user_limit.load(), wanted})
    if (limit > 0) threads = std::min(threads, limit);
  return std::max(threads, 1);
}

void parallel_ranges(std::int64_t n, int threads, RangeFn fn, void* context) {
  const int useful = int(std::min<std::int64_t>(threads, n));
  if (useful <= 1 || forked || backend().in_parallel()) {
    if (n > 0) fn(context, 0, n);
    return;
  }
  backend().run(n, useful, fn, context);
}

}  // namespace fusedstep

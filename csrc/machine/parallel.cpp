#include "machine/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "machine/stalls.h"

namespace fusedstep {
namespace {

std::atomic<const Backend*> chosen{nullptr};  // the user's choice, or null
std::atomic<const Backend*> found{nullptr};
std::atomic<int> user_limit{0};
std::atomic<int> machine_limit{1};
std::atomic<int> forced{0};
std::atomic<bool> forked{false};
Stalls stalls;

// In a forked process, an OpenMP region would wait forever for threads that the fork did not copy. So a forked process
// uses one thread.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] { forked = true; });

const Backend& backend() {
  if (const Backend* b = chosen) return *b;
  if (const Backend* b = found) return *b;
  look_for_openmp();
  return *found;
}

using Clock = Stalls::Clock;

/// A parallel region of OpenMP that measures how long the calling thread waits for the other threads. It is used if
/// OpenMP is the default. If the user has chosen OpenMP, the wait is not measured.
class OpenMPRegion {
 public:
  OpenMPRegion(RangeFn fn, void* context) : fn_(fn), context_(context) {}

  void run(std::int64_t n, int threads) {
    found.load()->run(n, threads, member, this);
    const Clock::time_point end = Clock::now();
    stalls.waited(done_ - began_, end - done_, end);
  }

 private:
  static void member(void* self, std::int64_t begin, std::int64_t end) {
    auto& region = *static_cast<OpenMPRegion*>(self);
    region.fn_(region.context_, begin, end);
    if (pthread_equal(pthread_self(), region.caller_)) region.done_ = Clock::now();
  }

  const RangeFn fn_;
  void* const context_;
  const pthread_t caller_ = pthread_self();
  const Clock::time_point began_ = Clock::now();
  Clock::time_point done_ = began_;
};

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
  const Backend& b = backend();
  if (chosen || &b == &thread_pool_backend()) return b.run(n, useful, fn, context);
  if (stalls.go_on(Clock::now())) return thread_pool_backend().run(n, useful, fn, context);
  OpenMPRegion(fn, context).run(n, useful);
}

}  // namespace fusedstep

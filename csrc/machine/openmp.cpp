// OpenMP through the functions of libgomp. The functions are looked up at run time, so the package is not linked to
// libgomp. If another library, for example torch, has loaded a libgomp with the same soname, both use the same threads.
#include "machine/parallel.h"
#include "machine/system.h"

namespace fusedstep {
namespace {

struct Gomp {
  void (*parallel)(void (*)(void*), void*, unsigned threads, unsigned flags) = nullptr;
  int (*thread_num)() = nullptr;
  int (*num_threads)() = nullptr;
  int (*max_threads)() = nullptr;
  int (*in_parallel)() = nullptr;
};

Gomp entry_points(void* library) {
  Gomp g;
  if (library && find(library, "GOMP_parallel", g.parallel) && find(library, "omp_get_thread_num", g.thread_num) &&
      find(library, "omp_get_num_threads", g.num_threads) && find(library, "omp_get_max_threads", g.max_threads) &&
      find(library, "omp_in_parallel", g.in_parallel))
    return g;
  return {};
}

void* open(int flags) { return dlopen("libgomp.so.1", RTLD_NOW | RTLD_LOCAL | flags); }

const Gomp& gomp() {
  static const Gomp loaded = entry_points(open(0));
  return loaded;
}

struct Region {
  std::int64_t n;
  RangeFn fn;
  void* context;
};

// OpenMP may start fewer threads than requested. So the ranges are computed from the actual number of threads.
void member(void* data) {
  const auto& r = *static_cast<Region*>(data);
  const int threads = gomp().num_threads(), k = gomp().thread_num();
  const std::int64_t begin = part(r.n, threads, k), end = part(r.n, threads, k + 1);
  if (begin < end) r.fn(r.context, begin, end);
}

void run(std::int64_t n, int threads, RangeFn fn, void* context) {
  Region region{n, fn, context};
  gomp().parallel(member, &region, unsigned(threads), 0);
}

const Backend backend{"openmp", run, [] { return gomp().max_threads(); }, [] { return gomp().in_parallel() != 0; }};

}  // namespace

const Backend* openmp_backend() { return gomp().parallel ? &backend : nullptr; }

bool openmp_is_loaded() { return open(RTLD_NOLOAD) != nullptr; }

}  // namespace fusedstep

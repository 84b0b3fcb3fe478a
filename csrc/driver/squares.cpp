#include "driver/squares.h"

#include <algorithm>
#include <vector>

#include "driver/parallel.h"
#include "isa/dispatch.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t chunk = 4096;                 // elements; the bits depend on it
constexpr std::ptrdiff_t elements_per_thread = 32768;  // as a step's: then each thread finds what it wrote

}  // namespace

double sum_of_squares(const char* x, std::ptrdiff_t n, DType dtype, int threads) {
  Gradient all;
  all.data = const_cast<char*>(x);
  Run run{};
  run.gradient = &all;
  const SquareSumFn add_squares = kernels().square_sum[int(dtype)];
  std::vector<double> partial(std::size_t((n + chunk - 1) / chunk));
  threads = int(std::clamp<std::ptrdiff_t>(n / elements_per_thread, 1, available_threads(threads)));
  parallel_for(std::ptrdiff_t(partial.size()), threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      Run part = run;
      part.first = k * chunk;
      part.count = std::min(chunk, n - part.first);
      double lanes[norm_lanes] = {};
      add_squares(part, 0, lanes);
      partial[std::size_t(k)] = sum_of_lanes(lanes);
    }
  });
  double sum = 0;
  for (const double p : partial) sum += p;
  return sum;
}

}  // namespace fusedstep

#include "step/squares.h"

#include <algorithm>
#include <vector>

#include "machine/parallel.h"
#include "step/plan.h"

namespace fusedstep {

double sum_of_squares(const char* x, std::ptrdiff_t n, DType dtype) {
  const SquareSumFn add_squares = step_kernels().square_sum[int(dtype)];
  std::vector<double> partial(std::size_t((n + chunk_size - 1) / chunk_size));
  // A step uses the same number of threads. So each thread has in its cache the data that it wrote.
  const int threads = useful_threads(n, available_threads());
  parallel_for(std::int64_t(partial.size()), threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t first = k * chunk_size, count = std::min<std::int64_t>(chunk_size, n - first);
      double lanes[norm_lanes] = {};
      add_squares(x + first * item_size(dtype), count, 0, lanes);
      partial[std::size_t(k)] = sum_of_lanes(lanes);
    }
  });
  double sum = 0;
  for (const double p : partial) sum += p;
  return sum;
}

}  // namespace fusedstep

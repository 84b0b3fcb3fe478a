#include "step/squares.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "machine/parallel.h"
#include "step/blocks.h"
#include "step/plan.h"

namespace fusedstep {
namespace {

// The number of chunks in a group. The chunks of a group are read in ascending order. A group is so long that the
// hardware's prefetcher is effective.
constexpr std::int64_t stretch = 64;

}  // namespace

double sum_of_squares(const char* x, std::ptrdiff_t n, DType dtype) {
  const SquareSumFn add_squares = step_kernels().square_sum[int(dtype)];
  std::vector<double> partial(std::size_t((n + chunk_size - 1) / chunk_size));
  // A step of x uses the same number of threads. If it has just written x, each thread finds its part in its own cache.
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

/// The sum of squares of one chunk.
double Plan::squared_norm_of(std::int64_t chunk) const {
  double lanes[norm_lanes] = {};
  for_runs(chunk * chunk_size, (chunk + 1) * chunk_size, [&](const Tensor& t, std::int64_t first, std::int64_t n) {
    const auto lane = unsigned((t.start + first) % norm_lanes);
    add_squares(t, first, n, lane, lanes);
  });
  return sum_of_lanes(lanes);
}

/// The bits do not depend on the number of threads, or on how the elements are divided into tensors. The lane and the
/// chunk of an element follow from its position in the concatenation of all tensors. Lanes and chunks are added in a
/// fixed order.
double Plan::squared_norm(int threads) {
  parallel_for(std::int64_t(partial_.size()), threads, [&](std::int64_t begin, std::int64_t end) {
    // Groups of chunks are read from the last group to the first. So the elements that were read last are still in the
    // cache when the step begins with them.
    for (std::int64_t stop = end; stop > begin; stop -= stretch)
      for (std::int64_t chunk = std::max(begin, stop - stretch); chunk < stop; ++chunk)
        partial_[std::size_t(chunk)] = squared_norm_of(chunk);
  });
  double sum = 0;
  for (const double p : partial_) sum += p;
  return sum;
}

constexpr double least_exact_squares = 0x1p-970;

/// The squares of float64 numbers above 1e154 overflow, and those of numbers below 1e-146 lose digits. In these cases,
/// the sum is computed again, and the numbers are multiplied by a power of two before they are squared. The new sum has
/// only the squares of float64 numbers. If the first sum overflows, numbers of other types are negligible. If the first
/// sum is very small, numbers of other types are all 0.
double Plan::norm(int threads) {
  const double squares = squared_norm(threads);
  if (std::isinf(squares) && finite()) return std::sqrt(squares_scaled_by(0x1p-600)) * 0x1p600;
  if (squares < least_exact_squares && has_float64()) return std::sqrt(squares_scaled_by(0x1p600)) * 0x1p-600;
  return std::sqrt(squares);
}

Squares Plan::squares(int threads) {
  const double sum = squared_norm(int(std::clamp<std::int64_t>(useful_threads(), 1, threads)));
  if (std::isinf(sum) || std::isnan(sum)) return {sum, squares_scaled_by(0x1p-600), sum, finite()};
  const bool loses_digits = sum < least_exact_squares && has_float64();
  return {sum, sum * 0x1p-600 * 0x1p-600, loses_digits ? squares_scaled_by(0x1p600) : sum * 0x1p600 * 0x1p600, true};
}

double Plan::squares_scaled_by(double power) const {
  double sum = 0;
  for_runs(0, total_, [&](const Tensor& t, std::int64_t first, std::int64_t n) {
    if (t.gradient_dtype == DType::f64) add_scaled_squares(t, first, n, power, sum);
  });
  return sum;
}

bool Plan::has_float64() const {
  return total_ > 0 && std::any_of(tensors.begin(), tensors.end(),
                                   [](const Tensor& t) { return t.active && t.gradient_dtype == DType::f64; });
}

/// True if all gradients are finite after they are multiplied by `factor`. Reads every element.
bool Plan::finite(double factor) const {
  bool finite = true;
  if (total_ > 0)
    for_runs(0, total_, [&](const Tensor& t, std::int64_t first, std::int64_t n) {
      finite = finite && all_finite(t, first, n, factor);
    });
  return finite;
}

/// True if an element of a gradient is inf or nan after it is multiplied by `factor`. No element is larger than the
/// norm. If the norm is not very large, the elements are therefore not read.
bool Plan::overflows(double norm, double factor) const {
  constexpr double safe = 0x1p127;  // half of the largest float32
  return !(norm < safe && norm * factor < safe) && !finite(factor);
}

}  // namespace fusedstep

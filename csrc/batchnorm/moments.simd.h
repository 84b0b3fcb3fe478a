// For each channel: the mean of a block of values, and the sum of the squared deviations from it. Before values are
// squared, the mean of the block's first batch_lanes values is subtracted. The sum of these squares is then at most 33
// times the sum of squared deviations, even if the mean is large. So only few digits are lost when the sum of squared
// deviations is computed from the sum of these squares by a subtraction.
#pragma once

#include "batchnorm/lanes.simd.h"

namespace fusedstep {
namespace {

template <class Item, class Shift>
struct Deviations {
  const Item* x;
  Shift shift;
  template <class V>
  FUSEDSTEP_INLINE Pair<V> at(std::ptrdiff_t i, std::ptrdiff_t channel) const {
    const V d = load<V>(x + i) - shift.template at<V>(channel);
    return {d, d * d};
  }
};

/// Used if the squares of values overflow or lose digits, or if values are not finite. Computes in double, one value
/// after the other.
template <class Item>
[[gnu::noinline, gnu::cold]] void careful_moments(const BatchNormShape& shape, const void* x, std::ptrdiff_t block,
                                                  std::ptrdiff_t channel, double& mean, double& m2) {
  using T = Number<Item>;
  Item room[batch_block];
  T v[batch_block];
  const std::ptrdiff_t n = block_count(shape, block);
  const Item* items = stretch(shape, x, channel, block * batch_block, n, room);
  for (std::ptrdiff_t i = 0; i < n; ++i) v[i] = load<T>(items + i);
  mean = double(v[0]), m2 = 0;
  const bool constant = v[0] - v[0] == T(0) && !__builtin_memcmp(v, v + 1, std::size_t(n - 1) * sizeof(T));
  if (constant) return;  // equal finite values are common; m2 is then exactly 0
  double sum = 0, squares = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) sum += double(v[i]);
  mean = sum / double(n);
  for (std::ptrdiff_t i = 0; i < n; ++i) squares += (double(v[i]) - mean) * (double(v[i]) - mean);
  m2 = squares;
}

template <class Item, class T>
FUSEDSTEP_INLINE void finish_moments(const BatchNormShape& shape, const void* x, std::ptrdiff_t block,
                                     std::ptrdiff_t channel, T shift, T sum, T squares, double& mean, double& m2) {
  const double n = double(block_count(shape, block));
  mean = double(shift) + double(sum) / n;
  const double exact = double(squares) - double(sum) * double(sum) / n;
  m2 = exact < 0 ? 0 : exact;
  // a sum of squares below `least` may have lost digits, because squares may be denormal
  constexpr double least = sizeof(T) == 4 ? batch_block * 0x1p-126 : 0;
  if (!(m2 - m2 == 0) || double(squares) < least) careful_moments<Item>(shape, x, block, channel, mean, m2);
}

template <class Item>
void moments_along(const BatchNormShape& shape, const void* x, std::ptrdiff_t block, std::ptrdiff_t channel,
                   double& mean, double& m2) {
  using T = Number<Item>;
  alignas(64) Item room[batch_block];
  alignas(64) T sum[batch_lanes] = {}, squares[batch_lanes];
  const std::ptrdiff_t n = block_count(shape, block), group = n < batch_lanes ? n : batch_lanes;
  const Item* v = stretch(shape, x, channel, block * batch_block, n, room);
  for (std::ptrdiff_t i = 0; i < group; ++i) sum[i] = load<T>(v + i);
  add_lanes(sum, 1);
  const T shift = sum[0] / T(group);
  sum_along(Deviations<Item, Constant<T>>{v, {shift}}, n, sum, squares,
            [data = static_cast<const Item*>(x), next = NextBlock(shape, channel, block)](std::ptrdiff_t i) {
              prefetch<width<T>>(data, next.at(i));
            });
  add_lanes(sum, 1), add_lanes(squares, 1);
  finish_moments<Item>(shape, x, block, channel, shift, sum[0], squares[0], mean, m2);
}

/// The sum of the first batch_lanes rows. The rows are added in the order in which add_lanes adds lanes.
template <class Item, class T>
FUSEDSTEP_INLINE void sum_first_rows(const Item* x, std::ptrdiff_t stride, std::ptrdiff_t width, std::ptrdiff_t rows,
                                     T* sum) {
  constexpr std::ptrdiff_t half = batch_lanes / 2;
  for (std::ptrdiff_t r = 0; r < half; ++r)
    for_vectors<T>(width, [=]<class V>(std::ptrdiff_t c) {
      const V a = r < rows ? load<V>(x + r * stride + c) : V{};
      const V b = r + half < rows ? load<V>(x + (r + half) * stride + c) : V{};
      store(sum + r * width + c, a + b);
    });
  add_lanes(sum, width, half);
}

template <class Item>
void moments_across(const BatchNormShape& shape, const void* data, std::ptrdiff_t block, std::ptrdiff_t channel,
                    std::ptrdiff_t width, double* mean, double* m2) {
  using T = Number<Item>;
  constexpr std::ptrdiff_t most = batch_lanes * RowWalk::few > slice<T> ? batch_lanes * RowWalk::few : slice<T>;
  alignas(64) T sum[batch_lanes * slice<T>], squares[batch_lanes * slice<T>], shift[most];
  const std::ptrdiff_t rows = block_count(shape, block), group = rows < batch_lanes ? rows : batch_lanes;
  const RowWalk walk(shape.channels, width);
  const Item* x = static_cast<const Item*>(data) + block * batch_block * shape.channels + channel;
  sum_first_rows(x, shape.channels, width, group, sum);
  for (std::ptrdiff_t c = 0; c < width; ++c) shift[c] = sum[c] / T(group);
  if (walk.repeats == 1)
    for (std::ptrdiff_t i = width; i < walk.length; ++i) shift[i] = shift[i - width];
  sum_across(Deviations<Item, PerElement<T>>{x, {shift}}, walk, rows, sum, squares,
             [x](std::ptrdiff_t i) { prefetch<::fusedstep::width<T>>(x, i); });
  for (std::ptrdiff_t c = 0; c < width; ++c)
    finish_moments<Item>(shape, data, block, channel + c, shift[c], sum[c], squares[c], mean[channel + c],
                         m2[channel + c]);
}

template <class Item>
void batch_moments(const BatchNormShape& shape, const void* x, std::ptrdiff_t block, std::ptrdiff_t begin,
                   std::ptrdiff_t end, double* mean, double* m2) {
  constexpr std::ptrdiff_t most = slice<Number<Item>>;
  if (shape.inner > 1)
    for (std::ptrdiff_t c = begin; c < end; ++c) moments_along<Item>(shape, x, block, c, mean[c], m2[c]);
  else
    for (std::ptrdiff_t c = begin; c < end; c += most)
      moments_across<Item>(shape, x, block, c, end - c < most ? end - c : most, mean, m2);
}

}  // namespace
}  // namespace fusedstep

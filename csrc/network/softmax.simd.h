// The softmax of rows, and the negative log-likelihood of each row's label.
#pragma once

#include "machine/series.simd.h"
#include "machine/vectors.simd.h"
#include "network/kernel.h"

namespace fusedstep {
namespace {

// Rows with fewer elements are processed together, in groups with at most this number of elements. A group is read
// several times. After the first time, it is in the first-level cache.
constexpr std::ptrdiff_t softmax_tile = 1024;

constexpr int softmax_lanes = 16;  // number of partial sums of a long row, the same on every machine

template <class V>
FUSEDSTEP_INLINE V larger(V a, V b) {
  return ((b > a) | (b != b)) ? b : a;  // nan stays nan
}

template <class T>
inline T largest(const T* z, std::ptrdiff_t n) {
  T top = z[0];
  std::ptrdiff_t j = 1;
  if (n >= 2 * softmax_lanes) {
    constexpr int vectors = softmax_lanes / width<T>;
    Whole<T> tops[vectors];
    for (int k = 0; k < vectors; ++k) tops[k] = load<Whole<T>>(z + k * width<T>);
    for (j = softmax_lanes; j + softmax_lanes <= n; j += softmax_lanes)
      for (int k = 0; k < vectors; ++k) tops[k] = larger(tops[k], load<Whole<T>>(z + j + k * width<T>));
    for (int k = 0; k < softmax_lanes; ++k) top = larger(top, T(tops[k / width<T>][k % width<T>]));
  }
  for (; j < n; ++j) top = larger(top, z[j]);
  return top;
}

template <class T>
inline double total(const T* p, std::ptrdiff_t n) {
  double sum = 0;
  std::ptrdiff_t j = 0;
  if (n >= 2 * softmax_lanes) {
    constexpr int length = width<double>, vectors = softmax_lanes / length;
    Whole<double> sums[vectors] = {};
    for (; j + softmax_lanes <= n; j += softmax_lanes)
      for (int k = 0; k < vectors; ++k)
        sums[k] += __builtin_convertvector(load<Vector<T, length>>(p + j + k * length), Whole<double>);
    for (int k = 0; k < softmax_lanes; ++k) sum += sums[k / length][k % length];
  }
  for (; j < n; ++j) sum += double(p[j]);
  return sum;
}

template <class T>
void softmax_loss(const void* logits, const std::int64_t* labels, void* each, void* gradient, std::ptrdiff_t rows,
                  std::ptrdiff_t width) {
  const T* const z = static_cast<const T*>(logits);
  T *const losses = static_cast<T*>(each), *const p = static_cast<T*>(gradient);
  const std::ptrdiff_t together = width < softmax_tile ? softmax_tile / width : 1;
  const T share = T(1.0 / double(rows));
  for (std::ptrdiff_t first = 0; first < rows; first += together) {
    const std::ptrdiff_t end = first + together < rows ? first + together : rows;
    for (std::ptrdiff_t i = first; i < end; ++i) {
      const T top = largest(z + i * width, width);
      for (std::ptrdiff_t j = i * width; j < (i + 1) * width; ++j) p[j] = z[j] - top;
      losses[i] = p[i * width + labels[i]];
    }
    for (std::ptrdiff_t j = first * width; j < end * width; ++j) p[j] = exponential(p[j]);
    for (std::ptrdiff_t i = first; i < end; ++i) {
      const double sum = total(p + i * width, width);
      const double log = sum >= 1 ? -logarithm(1 / sum) : sum;  // sum >= 1 is false only if sum is nan
      losses[i] = T(log - double(losses[i]));
      const T factor = T(1 / (sum * double(rows)));
      for (std::ptrdiff_t j = i * width; j < (i + 1) * width; ++j) p[j] *= factor;
      p[i * width + labels[i]] -= share;
    }
  }
}

}  // namespace
}  // namespace fusedstep

// Gaussian noise from the random words of Philox, by the method of Box and Muller (1958).
#pragma once

#include "machine/series.simd.h"
#include "random/philox.simd.h"

namespace fusedstep {
namespace {

template <class T>
struct Point {
  T cosine, sine;
};

/// Cosine and sine of the angle 2 pi word / 2^32. The angle is the sum of the nearest multiple of a quarter turn, which
/// is exact, and a rest. The cosine and the sine of the rest are computed by Taylor series.
template <class T>
inline Point<T> on_circle(std::uint32_t word) {
  const std::uint32_t quadrant = (word + (1u << 29)) >> 30;
  const T x = T(std::int32_t(word - (quadrant << 30))) * T(6.283185307179586476925 / 4294967296.0), x2 = x * x;
  T sine = T(1), cosine = T(1);
#pragma GCC unroll 16
  for (int k = Format<T>::sine_terms; k >= 1; --k) {
    sine = T(1) - x2 * T(1.0 / (2 * k * (2 * k + 1))) * sine;
    cosine = T(1) - x2 * T(1.0 / ((2 * k - 1) * (2 * k))) * cosine;
  }
  sine = sine * x;
  const T a = quadrant & 1 ? sine : cosine, b = quadrant & 1 ? cosine : sine;
  return {(quadrant + 1) & 2 ? -a : a, quadrant & 2 ? -b : b};
}

/// Computes two normal numbers from each two words. The first word gives u = (word + 1/2) / 2^32, and the second word
/// gives an angle. The two numbers are sqrt(-2 ln u) times the cosine and the sine of this angle.
template <class T>
inline void normals(const std::uint32_t* words, T* z) {
  for (int j = 0; j < tile_words; j += 2) {
    const T low = T(std::int32_t(words[j] & 0xffff)), high = T(std::int32_t(words[j] >> 16));
    const T u = (high * T(65536) + low + T(0.5)) * T(1.0 / 4294967296.0);
    const T radius = square_root(T(-2) * logarithm(u));
    const Point<T> p = on_circle<T>(words[j + 1]);
    z[j] = radius * p.cosine;
    z[j + 1] = radius * p.sine;
  }
}

template <class T>
void noise(const void* x, void* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Noise& d) {
  alignas(64) std::uint32_t words[tile_words];
  alignas(64) T z[tile_words];
  const T scale = T(d.scale);
  for (std::ptrdiff_t at = begin; at < end;) {
    const std::uint64_t index = d.first + std::uint64_t(at);
    const std::ptrdiff_t skip = std::ptrdiff_t(index % tile_words), room = tile_words - skip;
    philox_tile(d.random, index / tile_words * tile_blocks, words);
    normals(words, z);
    const T* const normal = z + skip;
    T* const to = static_cast<T*>(y) + at;
    const std::ptrdiff_t count = room < end - at ? room : end - at;
    if (x)
      transform<false>(static_cast<const T*>(x) + at, to, count,
                       [=](auto v, std::ptrdiff_t i) { return v + load<decltype(v)>(normal + i) * scale; });
    else
      transform<false>(normal, to, count, [=](auto v, std::ptrdiff_t) { return v * scale; });
    at += count;
  }
}

}  // namespace
}  // namespace fusedstep

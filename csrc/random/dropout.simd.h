// Dropout (Srivastava et al. 2014). Whether an element is dropped is a function of its index. So no mask is stored
// between the forward and the backward pass, and the mask is the same for all numbers of threads and on all machines.
#pragma once

#include "random/philox.simd.h"

namespace fusedstep {
namespace {

/// Sets a number to 0 if its 16-bit half of a random word is below the threshold, otherwise multiplies it by `scale`.
/// The argument is one number or a vector of numbers.
template <class V, class H>
inline V drop(V x, H half, H threshold, V scale) {
  return half < threshold ? V{} : x * scale;
}

// Each number has one 16-bit half of a random word. Converts the half of a number, or the halves of a vector's numbers,
// to integers as wide as the numbers.
inline std::int32_t widen(const std::uint16_t* h, float) { return *h; }
inline std::int64_t widen(const std::uint16_t* h, double) { return *h; }

inline Whole<std::int32_t> widen(const std::uint16_t* h, Whole<float>) {
  std::uint16_t narrow __attribute__((vector_size(vector_bytes / 2)));
  __builtin_memcpy(&narrow, h, sizeof narrow);
  return __builtin_convertvector(narrow, Whole<std::int32_t>);
}
inline Whole<std::int64_t> widen(const std::uint16_t* h, Whole<double>) {
  std::uint16_t narrow __attribute__((vector_size(vector_bytes / 4)));
  using Middle __attribute__((vector_size(vector_bytes / 2))) = std::int32_t;
  __builtin_memcpy(&narrow, h, sizeof narrow);
  return __builtin_convertvector(__builtin_convertvector(narrow, Middle), Whole<std::int64_t>);
}

template <bool past_cache, class T>
inline void drop_halves(const T* x, T* y, const std::uint16_t* halves, std::ptrdiff_t n, const Drop& d) {
  const T scale = T(d.scale);
  transform<past_cache>(x, y, n, [=](auto v, std::ptrdiff_t i) {
    const auto half = widen(halves + i, v);
    return drop(v, half, decltype(half - half){} + d.threshold, decltype(v){} + scale);
  });
}

/// Used if every element has its own index. The 16-bit halves are computed one tile at a time. The last few halves of a
/// tile are used together with those of the next tile, so that only the first and the last vector of y may be
/// incomplete. If `past_cache` is true, the next elements are prefetched while a tile is computed.
template <bool past_cache, class T>
void drop_each(const T* x, T* y, std::ptrdiff_t n, std::uint64_t first, const Drop& d) {
  constexpr std::ptrdiff_t length = width<T>;
  alignas(64) std::uint16_t halves[length + tile_halves];
  std::ptrdiff_t skip = std::ptrdiff_t(first % tile_halves), held = 0;
  std::uint64_t block = first / tile_halves * tile_blocks;
  for (std::ptrdiff_t done = 0; done < n; block += tile_blocks) {
    if constexpr (past_cache)
      for (std::ptrdiff_t i = 0; i < tile_halves; i += width<T>) prefetch<width<T>>(x, done + tile_halves + i);
    philox_tile(d.random, block, halves + length);
    const std::ptrdiff_t ready = held + tile_halves - skip;
    std::ptrdiff_t count = n - done;
    if (count > ready) count = ready - past_boundary(y + done + ready);
    if (count > 0) drop_halves<past_cache>(x + done, y + done, halves + length + skip - held, count, d);
    done += count > 0 ? count : 0;
    held = ready - (count > 0 ? count : 0);
    skip = 0;
    __builtin_memcpy(halves, halves + tile_halves, sizeof *halves * length);
  }
  if constexpr (past_cache) end_streaming();
}

/// Used if every d.run neighbouring elements share an index. Element `begin` is x[0].
template <class T>
void drop_runs(const T* x, T* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop& d) {
  std::uint16_t halves[tile_halves];
  std::uint64_t have = 0;
  for (std::ptrdiff_t at = begin; at < end;) {
    const std::ptrdiff_t run = at / d.run;
    const std::uint64_t index = d.first + std::uint64_t(run), block = index / tile_halves * tile_blocks;
    if (at == begin || block != have) philox_tile(d.random, have = block, halves);
    const std::ptrdiff_t stop = (run + 1) * d.run < end ? (run + 1) * d.run : end;
    const std::int32_t half = halves[index % tile_halves];
    const T scale = T(d.scale);
    const T* const from = x + (at - begin);
    T* const to = y + (at - begin);
    if (half < d.threshold)
      transform<false>(to, to, stop - at, [](auto v, std::ptrdiff_t) { return decltype(v){}; });
    else
      transform<false>(from, to, stop - at, [=](auto v, std::ptrdiff_t) { return v * scale; });
    at = stop;
  }
}

template <class T>
void drop(const void* x, void* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop& d, bool past_cache) {
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(y);
  if (d.run != 1) return drop_runs(from, to, begin, end, d);
  const auto each = past_cache ? drop_each<true, T> : drop_each<false, T>;
  each(from, to, end - begin, d.first + std::uint64_t(begin), d);
}

/// Writes the mask to y: 1 for each element that is kept, 0 for each element that is dropped.
void kept(std::uint8_t* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop& d) {
  std::uint16_t halves[tile_halves];
  for (std::ptrdiff_t at = begin; at < end;) {
    const std::uint64_t index = d.first + std::uint64_t(at);
    const std::ptrdiff_t skip = std::ptrdiff_t(index % tile_halves), room = tile_halves - skip;
    philox_tile(d.random, index / tile_halves * tile_blocks, halves);
    const std::ptrdiff_t count = room < end - at ? room : end - at;
    for (std::ptrdiff_t i = 0; i < count; ++i) y[at + i] = halves[skip + i] >= d.threshold;
    at += count;
  }
}

}  // namespace
}  // namespace fusedstep

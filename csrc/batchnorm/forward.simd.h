// The pass that normalises the elements.
#pragma once

#include "batchnorm/lanes.simd.h"
#include "batchnorm/mask.simd.h"

namespace fusedstep {
namespace {

template <bool residual, bool relu, bool stream, class T, template <class> class Coefficient>
struct Normalize {
  const T *x, *r;
  T* y;
  Coefficient<T> center, scale, offset;
  BitWriter* open;

  template <class V>
  FUSEDSTEP_INLINE void operator()(std::ptrdiff_t i, std::ptrdiff_t k) const {
    V z = (load<V>(x + i) - center.template at<V>(k)) * scale.template at<V>(k) + offset.template at<V>(k);
    if constexpr (residual) z = z + load<V>(r + i);
    if constexpr (residual && relu) open->put(positive_bits<T>(z), sizeof(V) / sizeof(T));
    if constexpr (relu) z = where_positive(z, z);
    put<stream>(y + i, z);
  }
};

/// A plane is all elements with the same outer index and the same channel. Calls body(channel, first element, number of
/// elements) for the region's part of each plane. The planes with the last outer index come first: the pass that
/// computes the statistics has read them last, so they are still cached.
template <class Body>
FUSEDSTEP_INLINE void for_planes(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) {
  for (std::ptrdiff_t n = region.outer_end - 1; n >= region.outer_begin; --n)
    for (std::ptrdiff_t c = region.channel_begin; c < region.channel_end; ++c)
      body(c, (n * s.channels + c) * s.inner + region.inner_begin, region.inner_end - region.inner_begin);
}

/// A row has one element per channel. Calls body(first element, number of elements, first coefficient) for batches of
/// rows, from the last batch to the first. Long rows are cut: body is called for the same piece of each row of a batch,
/// then for the next piece. The coefficients of a piece then stay in the first-level cache during a batch.
template <class Body>
FUSEDSTEP_INLINE void for_rows(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) {
  constexpr std::ptrdiff_t most = 1024;
  // if rows are cut, every piece must begin at the first bit of a 32-bit word of the mask
  const bool cut = s.channels > 2 * most && s.channels % row_unit == 0;
  const std::ptrdiff_t batch = (1 + (cut ? 0 : 16384 / row_unit / s.channels)) * row_unit;
  for (std::ptrdiff_t end = region.outer_end, begin; end > region.outer_begin; end = begin) {
    begin = (end - 1) / batch * batch;
    if (begin < region.outer_begin) begin = region.outer_begin;
    if (!cut) {
      body(begin * s.channels, (end - begin) * s.channels, 0);
      continue;
    }
    for (std::ptrdiff_t c = 0; c < s.channels; c += most)
      for (std::ptrdiff_t n = begin; n < end; ++n)
        body(n * s.channels + c, s.channels - c < most ? s.channels - c : most, c);
  }
}

template <class T, bool residual, bool relu, bool stream>
void apply_variant(const BatchNormForward& f, const BatchNormRegion& region) {
  const T *x = static_cast<const T*>(f.x), *r = static_cast<const T*>(f.residual);
  T* y = static_cast<T*>(f.y);
  const T *m = static_cast<const T*>(f.center), *a = static_cast<const T*>(f.scale),
          *b = static_cast<const T*>(f.offset);
  const auto run = [&]<template <class> class C>(std::ptrdiff_t at, std::ptrdiff_t n, std::ptrdiff_t period,
                                                 std::ptrdiff_t bit, C<T> center, C<T> scale, C<T> offset) {
    BitWriter open(f.open, f.first_bit + bit);
    walk<stream>(
        y + at, n, period,
        Normalize<residual, relu, stream, T, C>{x + at, offset_or_null(r, at), y + at, center, scale, offset, &open});
    if constexpr (residual && relu) open.end();
  };
  using One = Constant<T>;
  using Each = PerElement<T>;
  if (f.shape.inner > 1)
    for_planes(f.shape, region, [&](std::ptrdiff_t c, std::ptrdiff_t at, std::ptrdiff_t n) {
      const std::ptrdiff_t bit = mask_bit(f.shape, at / f.shape.inner, region.inner_begin);
      run(at, n, n + line_bytes, bit, One{m[c]}, One{a[c]}, One{b[c]});
    });
  else
    for_rows(f.shape, region, [&](std::ptrdiff_t at, std::ptrdiff_t n, std::ptrdiff_t k) {
      run(at, n, coefficient_period(f.shape), at, Each{m + k}, Each{a + k}, Each{b + k});
    });
  if constexpr (stream) end_streaming();
}

template <class T>
void batch_apply(const BatchNormForward& f, const BatchNormRegion& region) {
  with_flags([&]<bool residual, bool relu, bool stream>() { apply_variant<T, residual, relu, stream>(f, region); },
             f.residual != nullptr, f.relu, f.stream);
}

}  // namespace
}  // namespace fusedstep

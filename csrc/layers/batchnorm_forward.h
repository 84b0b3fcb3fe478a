// The normalising pass.
#pragma once

#include "layers/batchnorm_lanes.h"

namespace fusedstep {
namespace {

template <class V>
FUSEDSTEP_INLINE V where_positive(V z, V value) {  // nan counts as positive, as in torch
  return z <= V{} ? V{} : value;
}

template <bool residual, bool relu, bool stream, class T, template <class> class Coefficient>
struct Normalize {
  const T *x, *r;
  T* y;
  Coefficient<T> center, scale, offset;

  template <class V>
  FUSEDSTEP_INLINE void operator()(std::ptrdiff_t i) const {
    V z = (load<V>(x + i) - center.template at<V>(i)) * scale.template at<V>(i) + offset.template at<V>(i);
    if constexpr (residual) z = z + load<V>(r + i);
    if constexpr (relu) z = where_positive(z, z);
    put<stream>(y + i, z);
  }
};

template <bool stream, class T, class Visit>
FUSEDSTEP_INLINE void walk(const T* target, std::ptrdiff_t n, const Visit& visit) {
  if constexpr (stream)
    for_aligned_vectors<T>(target, n, visit);
  else
    for_vectors<T>(n, visit);
}

/// Stretches of one channel, the last one first: what the statistics read last is still in the cache.
template <class T, class Body>
FUSEDSTEP_INLINE void for_planes(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) {
  for (std::ptrdiff_t n = region.outer_end - 1; n >= region.outer_begin; --n)
    for (std::ptrdiff_t c = region.channel_begin; c < region.channel_end; ++c)
      body(c, (n * s.channels + c) * s.inner + region.inner_begin, region.inner_end - region.inner_begin);
}

/// Rows of channels, the last one first. Short rows are taken together: `repeats` rows make one.
struct LongRows {
  static constexpr std::ptrdiff_t least = 64, room = 2 * least;
  std::ptrdiff_t repeats, length;
  LongRows(const BatchNormShape& s, const BatchNormRegion& region)
      : repeats(region.channel_end - region.channel_begin == s.channels && s.channels < least
                    ? (least + s.channels - 1) / s.channels : 1),
        length(repeats * (region.channel_end - region.channel_begin)) {}

  template <class T>
  PerElement<T> coefficients(const void* values, const BatchNormRegion& region, T* space) const {
    const T* v = static_cast<const T*>(values) + region.channel_begin;
    const std::ptrdiff_t width = length / repeats;
    if (repeats == 1) return {v};
    for (std::ptrdiff_t i = 0; i < length; ++i) space[i] = v[i % width];
    return {space};
  }

  template <class Body>
  FUSEDSTEP_INLINE void visit(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) const {
    std::ptrdiff_t n = region.outer_end;
    for (; n - repeats >= region.outer_begin; n -= repeats) body((n - repeats) * s.channels + region.channel_begin, length);
    if (n > region.outer_begin)
      body(region.outer_begin * s.channels + region.channel_begin, (n - region.outer_begin) * (length / repeats));
  }
};

template <class T, bool residual, bool relu, bool stream>
void apply_variant(const BatchNormForward& f, const BatchNormRegion& region) {
  const T *x = static_cast<const T*>(f.x), *r = static_cast<const T*>(f.residual);
  T* y = static_cast<T*>(f.y);
  if (f.shape.inner > 1) {
    const T *m = static_cast<const T*>(f.center), *a = static_cast<const T*>(f.scale), *b = static_cast<const T*>(f.offset);
    for_planes<T>(f.shape, region, [=](std::ptrdiff_t c, std::ptrdiff_t at, std::ptrdiff_t n) {
      walk<stream>(y + at, n, Normalize<residual, relu, stream, T, Constant>{x + at, offset_or_null(r, at), y + at, {m[c]}, {a[c]}, {b[c]}});
    });
  } else {
    alignas(64) T space[3][LongRows::room];
    const LongRows rows(f.shape, region);
    const auto m = rows.coefficients<T>(f.center, region, space[0]);
    const auto a = rows.coefficients<T>(f.scale, region, space[1]);
    const auto b = rows.coefficients<T>(f.offset, region, space[2]);
    rows.visit(f.shape, region, [=](std::ptrdiff_t at, std::ptrdiff_t n) {
      walk<stream>(y + at, n, Normalize<residual, relu, stream, T, PerElement>{x + at, offset_or_null(r, at), y + at, m, a, b});
    });
  }
  if constexpr (stream) end_streaming();
}

template <class T, bool... chosen>
void choose_apply(const BatchNormForward& f, const BatchNormRegion& region) {
  if constexpr (sizeof...(chosen) == 3) {
    apply_variant<T, chosen...>(f, region);
  } else {
    const bool next = sizeof...(chosen) == 0 ? f.residual != nullptr : sizeof...(chosen) == 1 ? f.relu : f.stream;
    next ? choose_apply<T, chosen..., true>(f, region) : choose_apply<T, chosen..., false>(f, region);
  }
}

template <class T>
void batch_apply(const BatchNormForward& f, const BatchNormRegion& region) {
  choose_apply<T>(f, region);
}

}  // namespace
}  // namespace fusedstep

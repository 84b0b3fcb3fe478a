// The two passes of the gradient of batch normalisation. The first pass computes sums over blocks of values, the second
// computes dx, the gradient with respect to the input x.
#pragma once

#include <type_traits>

#include "batchnorm/forward.simd.h"

namespace fusedstep {
namespace {

/// dz, the gradient with respect to the input of the ReLU. `open` is the mask of the elements that the ReLU has passed,
/// and `bit` is the index of element 0's bit in this mask.
template <BatchNormMask mask, class V, class Item, class Coefficient>
FUSEDSTEP_INLINE V masked(const Item* dy, const void* open, std::ptrdiff_t bit, V d, const Coefficient& scale,
                          const Coefficient& offset, std::ptrdiff_t i, std::ptrdiff_t channel) {
  const V g = load<V>(dy + i);
  if constexpr (mask == BatchNormMask::none) return g;
  if constexpr (mask == BatchNormMask::saved) return where_set<Number<Item>>(open, bit + i, g);
  return where_positive(V(d * scale.template at<V>(channel) + offset.template at<V>(channel)), g);
}

template <BatchNormMask mask, class Gradient, class Item, template <class> class Coefficient>
struct Products {
  const Gradient* dy;
  const Item* x;
  const void* open;
  std::ptrdiff_t bit;
  Coefficient<Number<Item>> center, scale, offset;
  template <class V>
  FUSEDSTEP_INLINE Pair<V> at(std::ptrdiff_t i, std::ptrdiff_t channel) const {
    const V d = load<V>(x + i) - center.template at<V>(channel);
    const V dz = masked<mask>(dy, open, bit, d, scale, offset, i, channel);
    return {dz, dz * d};
  }
};

/// Writes values j, ..., j + n - 1 of dz of channel c to `room`, without gaps. Returns `room`.
template <class Item, class T>
inline const T* masked_stretch(const BatchNormBackward& b, std::ptrdiff_t c, std::ptrdiff_t j, std::ptrdiff_t n,
                               T* room) {
  const BatchNormShape& s = b.shape;
  for (std::ptrdiff_t done = 0, count; done < n; done += count) {
    const std::ptrdiff_t plane = (j + done) / s.inner * s.channels + c, at = (j + done) % s.inner;
    count = s.inner - at < n - done ? s.inner - at : n - done;
    const Item* from = static_cast<const Item*>(b.dy) + plane * s.inner + at;
    const std::ptrdiff_t bit = mask_bit(s, plane, at);
    for_vectors<T>(count, [&]<class V>(std::ptrdiff_t i) {
      store(room + done + i, where_set<T>(b.open, bit + i, load<V>(from + i)));
    });
  }
  return room;
}

/// Used if a sum is inf or nan, for example because products overflow their type. Computes the sums again in double,
/// one product after the other.
template <BatchNormMask mask, class Item>
[[gnu::noinline, gnu::cold]] void careful_sums(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t c,
                                               double& sum, double& dot) {
  using T = Number<Item>;
  const BatchNormShape& s = b.shape;
  const auto value = [c](const void* p) { return Constant<T>{static_cast<const T*>(p)[c]}; };
  const Constant<T> center = value(b.center), scale = value(b.scale), offset = value(b.offset);
  sum = dot = 0;
  for (std::ptrdiff_t k = 0; k < block_count(s, block); ++k) {
    const std::ptrdiff_t j = block * batch_block + k, plane = j / s.inner * s.channels + c, in_plane = j % s.inner;
    const std::ptrdiff_t at = plane * s.inner + in_plane, bit = s.inner > 1 ? mask_bit(s, plane, in_plane) : at;
    const T d = load<T>(static_cast<const Item*>(b.x) + at) - center.value;
    const T dz = masked<mask, T>(static_cast<const Item*>(b.dy) + at, b.open, bit, d, scale, offset, 0, 0);
    sum += double(dz), dot += double(dz) * double(d);
  }
}

template <BatchNormMask mask, class Item, class T>
FUSEDSTEP_INLINE void finish_sums(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t c, T first, T second,
                                  double& sum, double& dot) {
  sum = double(first), dot = double(second);
  const T none = (first - first) + (second - second);
  if (!(none == T(0))) careful_sums<mask, Item>(b, block, c, sum, dot);
}

template <BatchNormMask mask, class Item>
void sums_along(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t c, double& sum, double& dot) {
  constexpr bool saved = mask == BatchNormMask::saved;
  using T = Number<Item>;
  using Gradient = std::conditional_t<saved, T, Item>;
  alignas(64) Gradient dz_room[batch_block];
  alignas(64) Item x_room[batch_block];
  alignas(64) T first[batch_lanes], second[batch_lanes];
  const std::ptrdiff_t n = block_count(b.shape, block), j = block * batch_block;
  const Gradient* dz;
  if constexpr (saved)
    dz = masked_stretch<Item>(b, c, j, n, dz_room);
  else
    dz = stretch(b.shape, b.dy, c, j, n, dz_room);
  const Item* x = stretch(b.shape, b.x, c, j, n, x_room);
  const auto value = [c](const void* p) { return Constant<T>{static_cast<const T*>(p)[c]}; };
  using Term = Products<saved ? BatchNormMask::none : mask, Gradient, Item, Constant>;
  const auto ahead = [x0 = static_cast<const Item*>(b.x), dy0 = static_cast<const Item*>(b.dy),
                      next = NextBlock(b.shape, c, block)](std::ptrdiff_t i) {
    prefetch<width<T>>(x0, next.at(i)), prefetch<width<T>>(dy0, next.at(i));
  };
  const Term term{dz, x, nullptr, 0, value(b.center), value(b.scale), value(b.offset)};
  sum_along(term, n, first, second, ahead);
  add_lanes(first, 1), add_lanes(second, 1);
  finish_sums<mask, Item>(b, block, c, first[0], second[0], sum, dot);
}

template <BatchNormMask mask, class Item>
void sums_across(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t c, std::ptrdiff_t width, double* sum,
                 double* dot) {
  using T = Number<Item>;
  alignas(64) T first[batch_lanes * slice<T>], second[batch_lanes * slice<T>];
  const RowWalk walk(b.shape.channels, width);
  const std::ptrdiff_t at = block * batch_block * b.shape.channels + c;
  const auto data = [at](const void* p) { return static_cast<const Item*>(p) + at; };
  const auto value = [c](const void* p) { return PerElement<T>{static_cast<const T*>(p) + c}; };
  sum_across(Products<mask, Item, Item, PerElement>{data(b.dy), data(b.x), b.open, at, value(b.center), value(b.scale),
                                                    value(b.offset)},
             walk, block_count(b.shape, block), first, second, [x = data(b.x), dy = data(b.dy)](std::ptrdiff_t i) {
               prefetch<::fusedstep::width<T>>(x, i), prefetch<::fusedstep::width<T>>(dy, i);
             });
  for (std::ptrdiff_t k = 0; k < width; ++k)
    finish_sums<mask, Item>(b, block, c + k, first[k], second[k], sum[c + k], dot[c + k]);
}

template <BatchNormMask mask, class Item>
void sums_variant(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end,
                  double* sum, double* dot) {
  constexpr std::ptrdiff_t most = slice<Number<Item>>;
  if (b.shape.inner > 1)
    for (std::ptrdiff_t c = begin; c < end; ++c) sums_along<mask, Item>(b, block, c, sum[c], dot[c]);
  else
    for (std::ptrdiff_t c = begin; c < end; c += most)
      sums_across<mask, Item>(b, block, c, end - c < most ? end - c : most, sum, dot);
}

template <class Body>
inline void with_mask(BatchNormMask mask, const Body& body) {
  switch (mask) {
    case BatchNormMask::none:
      return body.template operator()<BatchNormMask::none>();
    case BatchNormMask::recomputed:
      return body.template operator()<BatchNormMask::recomputed>();
    case BatchNormMask::saved:
      return body.template operator()<BatchNormMask::saved>();
  }
}

template <class Item>
void batch_sums(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end, double* sum,
                double* dot) {
  with_mask(b.mask, [&]<BatchNormMask mask>() { sums_variant<mask, Item>(b, block, begin, end, sum, dot); });
}

template <BatchNormMask mask, bool frozen, bool stream, class T, template <class> class Coefficient>
struct InputGradient {
  const T *dy, *x;
  const void* open;
  std::ptrdiff_t bit;
  T *dx, *out;  // out: dz, or null
  Coefficient<T> center, scale, offset, mean, slope;

  template <class V>
  FUSEDSTEP_INLINE void operator()(std::ptrdiff_t i, std::ptrdiff_t k) const {
    V d{};
    if constexpr (!frozen || mask == BatchNormMask::recomputed) d = load<V>(x + i) - center.template at<V>(k);
    const V dz = masked<mask>(dy, open, bit, d, scale, offset, i, k);
    V g = dz;
    if constexpr (!frozen) g = (dz - mean.template at<V>(k)) - d * slope.template at<V>(k);
    if constexpr (mask == BatchNormMask::saved) put<stream>(out + i, dz);
    put<stream>(dx + i, V(g * scale.template at<V>(k)));
  }
};

template <class T, BatchNormMask mask, bool frozen, bool stream>
void gradient_variant(const BatchNormBackward& b, const BatchNormRegion& region) {
  const T *dy = static_cast<const T*>(b.dy), *x = static_cast<const T*>(b.x);
  T *dx = static_cast<T*>(b.dx), *dz = static_cast<T*>(b.dz);
  const auto run = [&]<template <class> class C>(std::ptrdiff_t at, std::ptrdiff_t n, std::ptrdiff_t period,
                                                 std::ptrdiff_t bit, C<T> m, C<T> a, C<T> o, C<T> mean, C<T> slope) {
    walk<stream>(dx + at, n, period,
                 InputGradient<mask, frozen, stream, T, C>{dy + at, x + at, b.open, b.first_bit + bit, dx + at,
                                                           offset_or_null(dz, at), m, a, o, mean, slope});
  };
  const T *m = static_cast<const T*>(b.center), *a = static_cast<const T*>(b.scale),
          *o = static_cast<const T*>(b.offset);
  const T *mean = static_cast<const T*>(b.mean), *slope = static_cast<const T*>(b.slope);
  using One = Constant<T>;
  using Each = PerElement<T>;
  if (b.shape.inner > 1)
    for_planes(b.shape, region, [&](std::ptrdiff_t c, std::ptrdiff_t at, std::ptrdiff_t n) {
      const std::ptrdiff_t bit = mask_bit(b.shape, at / b.shape.inner, region.inner_begin);
      run(at, n, n + line_bytes, bit, One{m[c]}, One{a[c]}, One{o[c]}, One{mean[c]}, One{slope[c]});
    });
  else
    for_rows(b.shape, region, [&](std::ptrdiff_t at, std::ptrdiff_t n, std::ptrdiff_t k) {
      run(at, n, coefficient_period(b.shape), at, Each{m + k}, Each{a + k}, Each{o + k}, Each{mean + k},
          Each{slope + k});
    });
  if constexpr (stream) end_streaming();
}

template <class T>
void batch_gradient(const BatchNormBackward& b, const BatchNormRegion& region) {
  with_mask(b.mask, [&]<BatchNormMask mask>() {
    with_flags([&]<bool frozen, bool stream>() { gradient_variant<T, mask, frozen, stream>(b, region); }, b.frozen,
               b.stream);
  });
}

}  // namespace
}  // namespace fusedstep

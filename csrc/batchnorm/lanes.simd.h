// Two sums over the values of a channel. Each sum is computed in batch_lanes lanes, which are partial sums. The values
// of a channel are neighbours in memory, or there is one value per row.
#pragma once

#include "batchnorm/kernel.h"
#include "formats/load.simd.h"
#include "machine/vectors.simd.h"

namespace fusedstep {
namespace {

template <class V>
struct Pair {
  V first, second;
};

constexpr std::ptrdiff_t slice_bytes = 256;  // bytes of a row added at a time, if channels are the last axis
template <class T>
constexpr std::ptrdiff_t slice = slice_bytes / std::ptrdiff_t(sizeof(T));

/// Adds lane k + w to lane k, for w = lanes / 2, ..., 4, 2, 1 and for k = 0, ..., w - 1. Each lane has one number for
/// each of `n` neighbouring channels.
template <class T>
FUSEDSTEP_INLINE void add_lanes(T* sum, std::ptrdiff_t n, std::ptrdiff_t lanes = batch_lanes) {
  for (std::ptrdiff_t w = lanes / 2; w > 0; w /= 2)
    for_vectors<T>(w * n,
                   [=]<class V>(std::ptrdiff_t i) { store(sum + i, load<V>(sum + i) + load<V>(sum + i + w * n)); });
}

/// Two sums over n values of one channel that are neighbours in memory. `first` and `second` are the lanes of these
/// sums. The two numbers of term.at<V>(i, 0) are added to lane i mod batch_lanes. ahead(i) prefetches value i of the
/// next block.
template <class T, class Term, class Ahead>
FUSEDSTEP_INLINE void sum_along(const Term& term, std::ptrdiff_t n, T* first, T* second, const Ahead& ahead) {
  constexpr int W = width<T>, K = batch_lanes / W < 4 ? batch_lanes / W : 4;
  using V = Vector<T, W>;
  const std::ptrdiff_t whole = n / batch_lanes * batch_lanes;
  for (int lane = 0; lane < batch_lanes; lane += K * W) {
    V a[K] = {}, b[K] = {};
    for (std::ptrdiff_t i = lane; i < whole; i += batch_lanes)
      for (int k = 0; k < K; ++k) {
        const Pair<V> t = term.template at<V>(i + k * W, 0);
        ahead(i + k * W);
        a[k] += t.first, b[k] += t.second;
      }
    for (int k = 0; k < K; ++k) store(first + lane + k * W, a[k]), store(second + lane + k * W, b[k]);
  }
  for_vectors<T>(n - whole, [&]<class U>(std::ptrdiff_t i) {
    const Pair<U> t = term.template at<U>(whole + i, 0);
    store(first + i, load<U>(first + i) + t.first);
    store(second + i, load<U>(second + i) + t.second);
  });
}

/// How a group of batch_lanes rows is processed. If the rows have at most `few` channels, the rows of a group are
/// processed as one long row.
struct RowWalk {
  std::ptrdiff_t stride, width, repeats, length;
  RowWalk(std::ptrdiff_t row, std::ptrdiff_t channels)
      : stride(row),
        width(channels),
        repeats(row == channels && channels <= few ? 1 : batch_lanes),
        length(repeats == 1 ? batch_lanes * channels : channels) {}
  static constexpr std::ptrdiff_t few = 16;
};

/// Adds G groups of rows, of which the first begins at row `row`. A group has batch_lanes rows. If G is 1, the group
/// has `rows` rows. If `begin` is true, the sums begin with 0.
template <int G, bool begin, class T, class Term, class Ahead>
FUSEDSTEP_INLINE void sum_groups(const Term& term, const RowWalk& walk, std::ptrdiff_t row, std::ptrdiff_t rows,
                                 T* first, T* second, const Ahead& ahead) {
  const std::ptrdiff_t repeats = walk.repeats == 1 ? 1 : rows, group = batch_lanes * walk.stride;
  const std::ptrdiff_t length = walk.repeats == 1 ? rows * walk.width : walk.length;
  for (std::ptrdiff_t r = 0; r < repeats; ++r) {
    T *const f = first + r * walk.width, *const s = second + r * walk.width;
    const std::ptrdiff_t at = (row + r) * walk.stride;
    for_vectors<T>(length, [&]<class V>(std::ptrdiff_t i) {
      V a{}, b{};
      if constexpr (!begin) a = load<V>(f + i), b = load<V>(s + i);
      for (int g = 0; g < G; ++g) {
        const Pair<V> t = term.template at<V>(at + g * group + i, i);
        if constexpr (G > 1) ahead(at + (g + G) * group + i);
        a += t.first, b += t.second;
      }
      store(f + i, a), store(s + i, b);
    });
  }
}

/// Two sums for each of walk.width neighbouring channels, where row j contains value j of each channel. The two numbers
/// of term.at<V>(element, channel) are added to lane j mod batch_lanes. The lanes are stored as [lane][channel]. At the
/// end, the first walk.width items are the sums of all lanes. ahead(element) prefetches the element.
template <class T, class Term, class Ahead>
FUSEDSTEP_INLINE void sum_across(const Term& term, const RowWalk& walk, std::ptrdiff_t rows, T* first, T* second,
                                 const Ahead& ahead) {
  constexpr std::ptrdiff_t one = batch_lanes, four = 4 * batch_lanes;
  std::ptrdiff_t row = 0;
  if (rows >= four) {
    sum_groups<4, true>(term, walk, 0, one, first, second, ahead), row = four;
  } else {
    for (std::ptrdiff_t i = 0; i < batch_lanes * walk.width; ++i) first[i] = second[i] = T(0);
  }
  for (; row + four <= rows; row += four) sum_groups<4, false>(term, walk, row, one, first, second, ahead);
  for (; row < rows; row += one)
    sum_groups<1, false>(term, walk, row, rows - row < one ? rows - row : one, first, second, ahead);
  add_lanes(first, walk.width), add_lanes(second, walk.width);
}

/// Values j, ..., j + n - 1 of a channel. If the values are neighbours in memory, the result points to them. Else they
/// are copied to `room`. This function is not inlined, because gcc's code for small planes is a quarter slower if it is
/// inlined.
template <class Item>
[[gnu::noinline]] const Item* stretch(const BatchNormShape& shape, const void* data, std::ptrdiff_t channel,
                                      std::ptrdiff_t j, std::ptrdiff_t n, Item* room) {
  const std::ptrdiff_t gap = (shape.channels - 1) * shape.inner;
  std::ptrdiff_t in_plane = j % shape.inner;
  const std::ptrdiff_t first = (j / shape.inner * shape.channels + channel) * shape.inner + in_plane;
  const Item* from = static_cast<const Item*>(data) + first;
  if (in_plane + n <= shape.inner) return from;
  for (std::ptrdiff_t done = 0; done < n; in_plane = 0) {
    const std::ptrdiff_t rest = shape.inner - in_plane, count = rest < n - done ? rest : n - done;
    copy(from, count, room + done);
    done += count, from += count + gap;
  }
  return room;
}

/// The positions of the values of a channel's next block, for prefetching. They are correct for values in the first two
/// planes of the block. The positions of other values are wrong, which only makes their prefetches useless.
struct NextBlock {
  std::ptrdiff_t start, edge, gap;
  NextBlock(const BatchNormShape& s, std::ptrdiff_t channel, std::ptrdiff_t block) {
    const std::ptrdiff_t j = (block + 1) * batch_block;
    start = (j / s.inner * s.channels + channel) * s.inner + j % s.inner;
    edge = s.inner - j % s.inner, gap = (s.channels - 1) * s.inner;
  }
  FUSEDSTEP_INLINE std::ptrdiff_t at(std::ptrdiff_t i) const { return start + i + (i >= edge ? gap : 0); }
};

inline std::ptrdiff_t block_count(const BatchNormShape& shape, std::ptrdiff_t block) {
  const std::ptrdiff_t rest = shape.outer * shape.inner - block * batch_block;
  return rest < batch_block ? rest : batch_block;
}

}  // namespace
}  // namespace fusedstep

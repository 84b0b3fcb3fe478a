#include "batchnorm/halves.h"

#include <algorithm>

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t room = 2048;  // numbers normalised at a time; they fill a fourth of a first-level cache
constexpr int type = int(DType::f32);

const float* numbers_at(const void* coefficients, std::ptrdiff_t channel) {
  return static_cast<const float*>(coefficients) + channel;
}

/// Calls body(shape, channel, first element, first bit of the mask) for pieces of a region. This function is for arrays
/// whose `inner` is 1. They consist of rows with one element per channel. A piece is contiguous: it consists of whole
/// rows or of a part of one row. Rows are processed in batches, from the last batch to the first, as in the kernels.
/// Within a batch, the pieces are in ascending order. A batch begins at the first bit of a word of the mask.
template <class Body>
void for_rows(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) {
  const std::ptrdiff_t rows = std::max<std::ptrdiff_t>(1, room / s.channels);
  const std::ptrdiff_t batch = (rows + row_unit - 1) / row_unit * row_unit;
  for (std::ptrdiff_t end = region.outer_end, begin; end > region.outer_begin; end = begin) {
    begin = std::max((end - 1) / batch * batch, region.outer_begin);
    for (std::ptrdiff_t n = begin; n < end; n += rows)
      for (std::ptrdiff_t c = 0; c < s.channels; c += room) {
        const std::ptrdiff_t at = n * s.channels + c;
        body(BatchNormShape{std::min(rows, end - n), std::min(room, s.channels - c), 1}, c, at, at);
      }
  }
}

/// Like for_rows, for other arrays. They consist of planes: the `inner` elements of one channel at one outer index. A
/// piece consists of whole planes or of a part of one plane. The outer indices are in descending order. The pieces of
/// one outer index are in ascending order.
template <class Body>
void for_planes(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) {
  const bool whole = region.inner_end - region.inner_begin == s.inner;
  const std::ptrdiff_t planes = whole ? std::max<std::ptrdiff_t>(1, room / s.inner) : 1;
  for (std::ptrdiff_t n = region.outer_end - 1; n >= region.outer_begin; --n)
    for (std::ptrdiff_t c = region.channel_begin; c < region.channel_end; c += planes)
      for (std::ptrdiff_t i = region.inner_begin; i < region.inner_end; i += room) {
        const std::ptrdiff_t plane = n * s.channels + c, count = std::min(planes, region.channel_end - c);
        body(BatchNormShape{1, count, std::min(room, region.inner_end - i)}, c, plane * s.inner + i,
             mask_bit(s, plane, i));
      }
}

template <class Body>
void for_pieces(const BatchNormShape& s, const BatchNormRegion& region, const Body& body) {
  s.inner == 1 ? for_rows(s, region, body) : for_planes(s, region, body);
}

BatchNormRegion all_of(const BatchNormShape& s) { return {0, s.channels, 0, s.outer, 0, s.inner}; }

}  // namespace

void HalfBatchNorm::apply(const BatchNormForward& f, const BatchNormRegion& region) const {
  alignas(64) float x[room], residual[room];
  for_pieces(f.shape, region, [&](const BatchNormShape& s, std::ptrdiff_t c, std::ptrdiff_t at, std::ptrdiff_t bit) {
    const std::ptrdiff_t n = s.outer * s.channels * s.inner;
    decode(f.x, at, n, x);
    if (f.residual) decode(f.residual, at, n, residual);
    BatchNormForward part = f;
    part.shape = s, part.x = part.y = x, part.residual = f.residual ? residual : nullptr;
    part.center = numbers_at(f.center, c), part.scale = numbers_at(f.scale, c), part.offset = numbers_at(f.offset, c);
    part.first_bit = bit, part.stream = false;
    float_.apply[type](part, all_of(s));
    encode(x, f.y, at, n, f.stream);
  });
  if (f.stream) half_kernels().end_streaming();
}

void HalfBatchNorm::gradient(const BatchNormBackward& b, const BatchNormRegion& region) const {
  alignas(64) float dy[room], x[room];
  for_pieces(b.shape, region, [&](const BatchNormShape& s, std::ptrdiff_t c, std::ptrdiff_t at, std::ptrdiff_t bit) {
    const std::ptrdiff_t n = s.outer * s.channels * s.inner;
    decode(b.dy, at, n, dy), decode(b.x, at, n, x);
    BatchNormBackward part = b;
    part.shape = s, part.dy = part.dx = dy, part.x = x, part.dz = b.dz ? x : nullptr;
    part.center = numbers_at(b.center, c), part.scale = numbers_at(b.scale, c), part.offset = numbers_at(b.offset, c);
    part.mean = numbers_at(b.mean, c), part.slope = numbers_at(b.slope, c);
    part.first_bit = bit, part.stream = false;
    float_.gradient[type](part, all_of(s));
    encode(dy, b.dx, at, n, b.stream);
    if (b.dz) encode(x, b.dz, at, n, b.stream);
  });
  if (b.stream) half_kernels().end_streaming();
}

}  // namespace fusedstep

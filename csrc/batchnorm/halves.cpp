#include "batchnorm/halves.h"

#include <algorithm>

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t room = 2048;    // numbers that are normalised at a time: a fourth of a first-level cache
constexpr std::ptrdiff_t together = 16;  // channels side by side that are summed at a time: half a line of a cache
constexpr int type = int(DType::f32);

const float* numbers_at(const void* coefficients, std::ptrdiff_t channel) {
  return static_cast<const float*>(coefficients) + channel;
}

/// body(shape, channel, first element, first bit of the mask) for pieces of a region that lie in one stretch of
/// memory: rows or planes, or a part of one. Like the kernels' walk it goes from the last to the first, but within the
/// rows of a word of the mask.
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

std::ptrdiff_t values_of(const BatchNormShape& s, std::ptrdiff_t block) {
  return std::min(s.outer * s.inner - block * batch_block, batch_block);
}

/// body(plane, place in the plane, values, values before) for the stretches of a block of a channel's values.
template <class Body>
void for_stretches(const BatchNormShape& s, std::ptrdiff_t block, std::ptrdiff_t channel, const Body& body) {
  for (std::ptrdiff_t done = 0, n = values_of(s, block), count; done < n; done += count) {
    const std::ptrdiff_t j = block * batch_block + done, in_plane = j % s.inner;
    count = std::min(s.inner - in_plane, n - done);
    body(j / s.inner * s.channels + channel, in_plane, count, done);
  }
}

/// Bits of a mask, put together without gaps.
class Gathered {
 public:
  void add(const std::uint32_t* words, std::ptrdiff_t bit, std::ptrdiff_t n) {
    for (std::ptrdiff_t count; n > 0; n -= count, bit += count, filled_ += count) {
      count = std::min<std::ptrdiff_t>({n, 32 - bit % 32, 32 - filled_ % 32});
      const std::uint32_t bits = (words[bit / 32] >> bit % 32) & (0xffffffffu >> (32 - count));
      std::uint32_t& word = words_[filled_ / 32];
      word = (filled_ % 32 ? word : 0) | bits << filled_ % 32;
    }
  }
  const std::uint32_t* words() const { return words_; }

 private:
  std::uint32_t words_[batch_block * together / 32 + 1];  // a word more, which is read
  std::ptrdiff_t filled_ = 0;
};

/// The coefficients of a few channels side by side, repeated as the kernels read them.
struct Repeated {
  float numbers[together * batch_lanes + coefficient_margin];
  Repeated(const void* coefficients, std::ptrdiff_t channel, std::ptrdiff_t width) {
    std::copy_n(numbers_at(coefficients, channel), width, numbers);
    const std::ptrdiff_t all = coefficient_period({1, width, 1}) + coefficient_margin;
    for (std::ptrdiff_t i = width; i < all; ++i) numbers[i] = numbers[i - width];
  }
};

}  // namespace

void HalfBatchNorm::moments(const BatchNormShape& s, const void* x, std::ptrdiff_t block, std::ptrdiff_t begin,
                            std::ptrdiff_t end, double* mean, double* m2) const {
  alignas(64) float numbers[batch_block * together];
  const std::ptrdiff_t n = values_of(s, block), step = s.inner > 1 ? 1 : together;
  for (std::ptrdiff_t c = begin, width; c < end; c += step) {
    width = std::min(step, end - c);
    if (s.inner > 1)
      for_stretches(s, block, c, [&](std::ptrdiff_t plane, std::ptrdiff_t i, std::ptrdiff_t count, std::ptrdiff_t at) {
        decode(x, plane * s.inner + i, count, numbers + at);
      });
    else
      half_.decode(item_at(x, block * batch_block * s.channels + c, 2), {n, width, s.channels}, numbers);
    const BatchNormShape part = s.inner > 1 ? BatchNormShape{1, 1, n} : BatchNormShape{n, width, 1};
    float_.moments[type](part, numbers, 0, 0, width, mean + c, m2 + c);
  }
}

void HalfBatchNorm::sums(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end,
                         double* sum, double* dot) const {
  alignas(64) float dy[batch_block * together / 2], x[batch_block * together / 2];
  const BatchNormShape& s = b.shape;
  const std::ptrdiff_t n = values_of(s, block), step = s.inner > 1 ? 1 : together / 2;
  for (std::ptrdiff_t c = begin, width; c < end; c += step) {
    width = std::min(step, end - c);
    Gathered open;
    if (s.inner > 1) {
      for_stretches(s, block, c, [&](std::ptrdiff_t plane, std::ptrdiff_t i, std::ptrdiff_t count, std::ptrdiff_t at) {
        decode(b.dy, plane * s.inner + i, count, dy + at), decode(b.x, plane * s.inner + i, count, x + at);
        if (b.mask == BatchNormMask::saved) open.add(b.open, mask_bit(s, plane, i), count);
      });
    } else {
      const std::ptrdiff_t first = block * batch_block * s.channels + c;
      half_.decode(item_at(b.dy, first, 2), {n, width, s.channels}, dy);
      half_.decode(item_at(b.x, first, 2), {n, width, s.channels}, x);
      for (std::ptrdiff_t row = 0; b.mask == BatchNormMask::saved && row < n; ++row)
        open.add(b.open, first + row * s.channels, width);
    }
    const Repeated center(b.center, c, width), scale(b.scale, c, width), offset(b.offset, c, width);
    BatchNormBackward part = b;
    part.shape = s.inner > 1 ? BatchNormShape{1, 1, n} : BatchNormShape{n, width, 1};
    part.dy = dy, part.x = x, part.open = open.words();
    part.center = center.numbers, part.scale = scale.numbers, part.offset = offset.numbers;
    float_.sums[type](part, 0, 0, width, sum + c, dot + c);
  }
}

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
    encode(x, f.y, at, n);
  });
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
    encode(dy, b.dx, at, n);
    if (b.dz) encode(x, b.dz, at, n);
  });
}

}  // namespace fusedstep

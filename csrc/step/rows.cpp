#include "step/rows.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "machine/parallel.h"

namespace fusedstep {
namespace {

/// Sorts positions by index[position], which is a row. Positions of the same row keep their order.
void sort_by_row(const std::int64_t* index, std::vector<std::int64_t>& positions) {
  constexpr int bits = 11;
  const std::int64_t last = positions.empty() ? 0 : *std::max_element(index, index + positions.size());
  std::vector<std::int64_t> sorted(positions.size());
  for (int shift = 0; shift < 63 && last >> shift > 0; shift += bits) {
    std::int64_t starts[(1 << bits) + 1] = {};
    const auto digit = [&](std::int64_t position) { return (index[position] >> shift) & ((1 << bits) - 1); };
    for (const std::int64_t position : positions) ++starts[digit(position) + 1];
    std::partial_sum(starts, starts + (1 << bits), starts);
    for (const std::int64_t position : positions) sorted[std::size_t(starts[digit(position)]++)] = position;
    positions.swap(sorted);
  }
}

template <class T>
void add(T* sum, const T* values, std::ptrdiff_t width) {
  for (std::ptrdiff_t i = 0; i < width; ++i) sum[i] += values[i];
}

/// Prefetches a row that will be updated soon. The hardware's prefetcher does not help, because the rows are scattered
/// over memory.
void prefetch(const void* row, std::ptrdiff_t bytes) {
  for (std::ptrdiff_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(row) + at, 1);
}

constexpr std::int64_t ahead = 4;

}  // namespace

RowGradient::RowGradient(const std::int64_t* index, std::int64_t count, const char* values, DType dtype,
                         std::ptrdiff_t width)
    : values_(values), dtype_(dtype), width_(width), order_(std::size_t(count)) {
  std::iota(order_.begin(), order_.end(), 0);
  if (!std::is_sorted(index, index + count)) sort_by_row(index, order_);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = index[order_[std::size_t(i)]];
    if (rows_.empty() || rows_.back().row != row) rows_.push_back({row, i, 0, 0});
    ++rows_.back().count;
  }
  std::ptrdiff_t bytes = 0;
  for (Row& row : rows_)
    if (row.count > 1) row.room = std::exchange(bytes, bytes + width_ * item_size(dtype_));
  room_.resize(std::size_t(bytes));
}

int RowGradient::useful_threads(int threads) const {
  return fusedstep::useful_threads(std::int64_t(order_.size()) * width_, threads);
}

/// Returns the gradient of a row. If the row has one gradient, the result points to its values. If the row has several
/// gradients, they are added in order, and the result points to the sum in `room_`.
const char* RowGradient::gradient(const Row& row) const {
  const std::ptrdiff_t bytes = width_ * item_size(dtype_);
  const auto values = [&](std::int64_t i) { return values_ + order_[std::size_t(row.first + i)] * bytes; };
  if (row.count == 1) return values(0);
  char* const room = room_.data() + row.room;
  std::copy(values(0), values(0) + bytes, room);
  for (std::int64_t i = 1; i < row.count; ++i)
    if (dtype_ == DType::f32)
      add(reinterpret_cast<float*>(room), reinterpret_cast<const float*>(values(i)), width_);
    else
      add(reinterpret_cast<double*>(room), reinterpret_cast<const double*>(values(i)), width_);
  return room;
}

double RowGradient::squared_norm(int threads) const {
  const SquareSumFn add_squares = step_kernels().square_sum[int(dtype_)];
  std::vector<double> partial(rows_.size());
  parallel_for(std::int64_t(rows_.size()), useful_threads(threads), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      double lanes[norm_lanes] = {};
      add_squares(gradient(rows_[std::size_t(k)]), width_, 0, lanes);
      partial[std::size_t(k)] = sum_of_lanes(lanes);
    }
  });
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

void RowGradient::write(std::int64_t* index, char* gradients, int threads) const {
  const std::ptrdiff_t bytes = width_ * item_size(dtype_);
  parallel_for(count(), useful_threads(threads), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      index[k] = rows_[std::size_t(k)].row;
      const char* const g = gradient(rows_[std::size_t(k)]);
      std::copy(g, g + bytes, gradients + k * bytes);
    }
  });
}

void RowGradient::sweep(SweepFn kernel, const Tensor& table, const Stages& stages, const Coefficients& c,
                        int threads) const {
  const std::ptrdiff_t bytes = width_ * item_size(dtype_);
  const auto at = [bytes](void* base, const Row& row) {
    return base ? static_cast<void*>(static_cast<char*>(base) + row.row * bytes) : nullptr;
  };
  parallel_for(std::int64_t(rows_.size()), useful_threads(threads), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const Row& row = rows_[std::size_t(k)];
      if (k + ahead < end) {
        prefetch(at(table.p.data, rows_[std::size_t(k + ahead)]), bytes);
        for (void* state : table.states)
          if (state) prefetch(at(state, rows_[std::size_t(k + ahead)]), bytes);
      }
      Run run{at(table.p.data, row), {}, nullptr, nullptr, width_};
      for (int s = 0; s < max_states; ++s) run.states[s] = at(table.states[s], row);
      run.g = const_cast<char*>(gradient(row));  // it is only read, because the stages do not zero it
      kernel(run, stages, c);
    }
  });
}

}  // namespace fusedstep

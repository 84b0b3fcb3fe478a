// Gradients for some rows of a parameter, for example of an embedding table. Gradients of the same row are added up,
// and each row is updated in place.
#pragma once

#include <cstdint>
#include <vector>

#include "step/plan.h"

namespace fusedstep {

class RowGradient {
 public:
  /// `values` contains `count` gradients without gaps. Each has `width` numbers, in float32 or float64. Gradient i
  /// belongs to row index[i]. Rows may occur in any order and more than once. `index` is used only in the constructor.
  /// `values` must exist as long as this object.
  RowGradient(const std::int64_t* index, std::int64_t count, const char* values, DType dtype, std::ptrdiff_t width);

  /// The sum of squares, after gradients of the same row are added up. The bits do not depend on the number of threads.
  double squared_norm(int threads) const;

  std::int64_t count() const { return std::int64_t(rows_.size()); }
  /// For each row that has a gradient, in ascending order, writes the index of the row and its gradient.
  void write(std::int64_t* index, char* gradients, int threads) const;

  /// Updates each row of `table` that has a gradient. Allocates no memory.
  void sweep(SweepFn kernel, const Tensor& table, const Stages& stages, const Coefficients& c, int threads) const;

  DType dtype() const { return dtype_; }
  std::ptrdiff_t width() const { return width_; }
  const char* values() const { return values_; }
  int useful_threads(int threads) const;

 private:
  /// A row that has gradients. `row` is its index in the parameter. Its gradients are order_[first], ...,
  /// order_[first + count - 1]. If there are several, their sum begins at byte `room` of `room_`.
  struct Row {
    std::int64_t row, first, count;
    std::ptrdiff_t room;
  };
  const char* gradient(const Row& row) const;

  const char* values_;
  DType dtype_;
  std::ptrdiff_t width_;
  std::vector<std::int64_t> order_;  // the indices of the gradients, sorted by row
  std::vector<Row> rows_;
  mutable std::vector<char> room_;
};

}  // namespace fusedstep

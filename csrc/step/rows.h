// Gradients of some rows of a table. The gradients of the same row are added up, and each row is stepped in place.
#pragma once

#include <cstdint>
#include <vector>

#include "step/plan.h"

namespace fusedstep {

class RowGradient {
 public:
  /// values[i] is the gradient of row index[i]: `width` numbers of float32 or float64, without gaps. Rows may come in
  /// any order and more than once. The constructor reads `index`; `values` must live as long as this object.
  RowGradient(const std::int64_t* index, std::int64_t count, const char* values, DType dtype, std::ptrdiff_t width);

  /// The sum of squares, after gradients of the same row are added up. The bits are the same for any number of threads.
  double squared_norm(int threads) const;

  std::int64_t count() const { return std::int64_t(rows_.size()); }
  /// Writes the number of each row that has a gradient, in order, and its gradient.
  void write(std::int64_t* index, char* gradients, int threads) const;

  /// Takes every row of a table through a rule and its stages. Allocates nothing.
  void sweep(SweepFn kernel, const Tensor& table, const Stages& stages, const Coefficients& c, int threads) const;

  DType dtype() const { return dtype_; }
  std::ptrdiff_t width() const { return width_; }
  const char* values() const { return values_; }
  int useful_threads(int threads) const;

 private:
  struct Row {
    std::int64_t row, first, count;  // index in the table; first position in `order_` and number of positions
    std::ptrdiff_t room;             // position in `room_` of the sum of several
  };
  const char* gradient(const Row& row) const;

  const char* values_;
  DType dtype_;
  std::ptrdiff_t width_;
  std::vector<std::int64_t> order_;
  std::vector<Row> rows_;
  mutable std::vector<char> room_;
};

}  // namespace fusedstep

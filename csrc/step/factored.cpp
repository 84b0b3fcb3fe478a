#include "step/factored.h"

#include <algorithm>
#include <vector>

#include "machine/parallel.h"

namespace fusedstep {
namespace {

/// So many rows of a matrix are one thread's at a time: the bits of a column's sum depend on this number.
constexpr std::ptrdiff_t rows_together = 128;

std::int64_t parts_of(const Matrices& m) { return (m.rows + rows_together - 1) / rows_together; }

/// visit(matrix, part of it, its first row, how many) for all parts, shared between threads.
template <class Visit>
void for_parts(const Matrices& m, Visit&& visit) {
  const std::int64_t parts = parts_of(m);
  const int threads = useful_threads(m.count * m.rows * m.columns, available_threads());
  parallel_for(m.count * parts, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const std::ptrdiff_t first = k % parts * rows_together;
      visit(k / parts, k % parts, first, std::min(rows_together, m.rows - first));
    }
  });
}

}  // namespace

void squares_of_rows_and_columns(const char* x, const Matrices& m, DType dtype, double* of_rows, double* of_columns) {
  const RowColumnSquaresFn add = step_kernels().row_column_squares[int(dtype)];
  const std::int64_t parts = parts_of(m);
  const std::ptrdiff_t row_bytes = m.columns * item_size(dtype);
  std::vector<double> partial(of_columns && parts > 1 ? std::size_t(m.count * parts * m.columns) : 0);
  double* const sums = partial.empty() ? of_columns : partial.data();
  if (of_columns) std::fill(of_columns, of_columns + m.count * m.columns, 0.0);
  for_parts(m, [&](std::int64_t matrix, std::int64_t part, std::ptrdiff_t first, std::ptrdiff_t n) {
    const std::int64_t row = matrix * m.rows + first;
    add(x + row * row_bytes, n, m.columns, of_rows + row,
        of_columns ? sums + (matrix * parts + part) * m.columns : nullptr);
  });
  if (partial.empty()) return;
  for (std::int64_t k = 0; k < m.count * parts; ++k)
    for (std::ptrdiff_t j = 0; j < m.columns; ++j)
      of_columns[k / parts * m.columns + j] += partial[std::size_t(k * m.columns + j)];
}

void divide_by_factors(const char* x, const char* row, const char* column, const Matrices& m, DType dtype, double floor,
                       char* y) {
  const DivideByFactorsFn divide = step_kernels().divide_by_factors[int(dtype)];
  const std::ptrdiff_t item = item_size(dtype), row_bytes = m.columns * item;
  for_parts(m, [&](std::int64_t matrix, std::int64_t, std::ptrdiff_t first, std::ptrdiff_t n) {
    const std::int64_t at = matrix * m.rows + first;
    divide(x + at * row_bytes, row + at * item, column + matrix * row_bytes, n, m.columns, floor, y + at * row_bytes);
  });
}

}  // namespace fusedstep

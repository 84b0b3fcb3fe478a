#include "step/factored.h"

#include <algorithm>
#include <vector>

#include "machine/parallel.h"

namespace fusedstep {
namespace {

/// A part of a matrix has this number of rows. Each part is processed by one thread. The bits of the sum of a column
/// depend on this number.
constexpr std::ptrdiff_t rows_together = 128;

std::int64_t parts_of(const Matrices& m) { return (m.rows + rows_together - 1) / rows_together; }

/// Calls visit(matrix, part, first row, number of rows) for all parts of all matrices. The parts are divided between
/// threads.
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

/// Writes the sum of squares of every row of each matrix. If `of_columns` is not null, also writes the sum of squares
/// of every column.
void add_squares(const char* x, const Matrices& m, DType dtype, double* of_rows, double* of_columns) {
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

/// Updates n running averages of mean squares. squares[i] is the sum of the squares of `count` numbers.
template <class T>
void move(const T* average, const double* squares, std::ptrdiff_t n, std::ptrdiff_t count, double weight, T* next) {
  for (std::ptrdiff_t i = 0; i < n; ++i)
    next[i] = average[i] + T(weight) * (T(squares[i] / double(count)) - average[i]);
}

/// Divides the n averages of the rows of a matrix by their mean, or by eps if the mean is smaller than eps.
template <class T>
void normalise(const T* row, std::ptrdiff_t n, double eps, T* result) {
  double sum = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) sum += double(row[i]);
  const T mean = T(sum / double(n) < eps ? eps : sum / double(n));  // nan stays nan
  for (std::ptrdiff_t i = 0; i < n; ++i) result[i] = row[i] / mean;
}

template <class T>
void divide(const char* x, const Matrices& m, DType dtype, const Factored& f, char* y) {
  const std::ptrdiff_t rows = m.count * m.rows, columns = m.count * m.columns, row_bytes = m.columns * sizeof(T);
  std::vector<double> squares(std::size_t(rows + columns));
  add_squares(x, m, dtype, squares.data(), squares.data() + rows);
  T *const row = reinterpret_cast<T*>(f.next_row), *const column = reinterpret_cast<T*>(f.next_column);
  move(reinterpret_cast<const T*>(f.row), squares.data(), rows, m.columns, f.weight, row);
  move(reinterpret_cast<const T*>(f.column), squares.data() + rows, columns, m.rows, f.weight, column);
  std::vector<T> normalised(static_cast<std::size_t>(rows));
  for (std::int64_t k = 0; k < m.count; ++k) normalise(row + k * m.rows, m.rows, f.eps, normalised.data() + k * m.rows);
  const DivideByFactorsFn of_rows = step_kernels().divide_by_factors[int(dtype)];
  for_parts(m, [&](std::int64_t matrix, std::int64_t, std::ptrdiff_t first, std::ptrdiff_t n) {
    const std::int64_t at = matrix * m.rows + first;
    of_rows(x + at * row_bytes, normalised.data() + at, column + matrix * m.columns, n, m.columns, f.eps * f.eps,
            y + at * row_bytes);
  });
}

}  // namespace

void squares_of_rows(const char* x, const Matrices& m, DType dtype, double* of_rows) {
  add_squares(x, m, dtype, of_rows, nullptr);
}

void divide_by_factors(const char* x, const Matrices& m, DType dtype, const Factored& f, char* y) {
  dtype == DType::f32 ? divide<float>(x, m, dtype, f, y) : divide<double>(x, m, dtype, f, y);
}

}  // namespace fusedstep

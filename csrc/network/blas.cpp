// Matrix products by the OpenBLAS that NumPy has loaded. Its functions are looked up at run time, so the package is not
// linked to OpenBLAS.
#include "network/blas.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

#include "machine/parallel.h"
#include "machine/system.h"

namespace fusedstep {
namespace {

// A tile is a part of the result that one call of OpenBLAS computes. It needs at most this number of multiplications.
// Up to this number, OpenBLAS (interface/gemm.c) uses only the calling thread.
constexpr std::ptrdiff_t one_tile = 64 * 64 * 64;
// Each element of the result is a sum of products. If a sum has more products than this, OpenBLAS is not used here,
// because the tiles would have too few rows and columns.
constexpr std::ptrdiff_t longest_sum = 1024;

// Constants of cblas.h.
constexpr int row_major = 101;
constexpr int operation(const Matrix& x) { return x.transposed ? 112 : 111; }

template <class T, class Int>
using Gemm = void (*)(int order, int of_a, int of_b, Int m, Int n, Int k, T alpha, const T* a, Int lda, const T* b,
                      Int ldb, T beta, T* out, Int ldc);

template <class Int>
struct Gemms {
  Gemm<float, Int> f32 = nullptr;
  Gemm<double, Int> f64 = nullptr;
};

struct Blas {
  Gemms<std::int64_t> wide;
  Gemms<int> narrow;
  int (*threads)() = nullptr;
  bool multiplies_in_place = false;  // true: OpenBLAS does not copy small matrices before it multiplies
};

template <class Int>
bool find_gemms(void* library, const std::string& prefix, const std::string& suffix, Gemms<Int>& gemms) {
  return find(library, prefix + "cblas_sgemm" + suffix, gemms.f32) &&
         find(library, prefix + "cblas_dgemm" + suffix, gemms.f64);
}

/// The prefix and the suffix of the names depend on the build of OpenBLAS. The text of openblas_get_config says how
/// wide its integers are.
bool find_all(void* library, const std::string& prefix, const std::string& suffix, Blas& blas) {
  char* (*core)() = nullptr, *(*config)() = nullptr;
  if (!find(library, prefix + "openblas_get_num_threads" + suffix, blas.threads) ||
      !find(library, prefix + "openblas_get_corename" + suffix, core) ||
      !find(library, prefix + "openblas_get_config" + suffix, config))
    return false;
  const std::string name = core();
  blas.multiplies_in_place = name == "SkylakeX" || name == "Cooperlake" || name == "SapphireRapids";
  return std::strstr(config(), "USE64BITINT") ? find_gemms(library, prefix, suffix, blas.wide)
                                              : find_gemms(library, prefix, suffix, blas.narrow);
}

/// Tries the names in NumPy's wheels, in the OpenBLAS wheel that SciPy uses, and in Linux distributions.
std::optional<Blas> look_in(void* library) {
  for (const char* prefix : {"scipy_", ""})
    for (const char* suffix : {"64_", ""})
      if (Blas blas; find_all(library, prefix, suffix, blas)) return blas;
  return {};
}

std::atomic<const Blas*> found{nullptr};

struct Tile {
  std::ptrdiff_t rows, columns;
};

/// The size of a tile if the result has m rows and n columns, and each element is a sum of k products. 32 columns fill
/// the registers of AVX-512.
Tile tile_of(std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k) {
  const std::ptrdiff_t area = one_tile / k;
  const std::ptrdiff_t rows = std::min(m, std::clamp<std::ptrdiff_t>(area / 32 / 8 * 8, 8, 32));
  return {rows, std::min(n, std::max<std::ptrdiff_t>(area / rows / 8 * 8, 8))};
}

template <class T, class Int>
void multiply_tiles(Gemm<T, Int> gemm, const Matrix& a, const Matrix& b, T* out, Side shared, int threads) {
  const std::ptrdiff_t m = a.rows, n = b.columns, k = a.columns;
  const Tile tile = tile_of(m, n, k);
  const std::ptrdiff_t down = (m + tile.rows - 1) / tile.rows, across = (n + tile.columns - 1) / tile.columns;
  const T *const left = reinterpret_cast<const T*>(a.data), *const right = reinterpret_cast<const T*>(b.data);
  parallel_for(down * across, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::ptrdiff_t i = (shared == Side::rows ? t / across : t % down) * tile.rows;
      const std::ptrdiff_t j = (shared == Side::rows ? t % across : t / down) * tile.columns;
      const std::ptrdiff_t row = i * (a.transposed ? 1 : a.stride), column = j * (b.transposed ? b.stride : 1);
      gemm(row_major, operation(a), operation(b), Int(std::min(tile.rows, m - i)), Int(std::min(tile.columns, n - j)),
           Int(k), T(1), left + row, Int(a.stride), right + column, Int(b.stride), T(0), out + i * n + j, Int(n));
    }
  });
}

template <class Int>
void multiply_with(const Gemms<Int>& gemms, const Matrix& a, const Matrix& b, char* out, DType dtype, Side shared,
                   int threads) {
  if (dtype == DType::f64)
    multiply_tiles(gemms.f64, a, b, reinterpret_cast<double*>(out), shared, threads);
  else
    multiply_tiles(gemms.f32, a, b, reinterpret_cast<float*>(out), shared, threads);
}

}  // namespace

bool find_blas(const char* library) {
  static const std::optional<Blas> blas = [=]() -> std::optional<Blas> {
    void* const handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    return handle ? look_in(handle) : std::nullopt;
  }();
  if (blas) found = &*blas;
  return blas.has_value();
}

bool multiply(const Matrix& a, const Matrix& b, char* out, DType dtype, Side shared, int threads) {
  const Blas* const blas = found;
  if (!blas || (threads != 1 && !blas->multiplies_in_place)) return false;
  const std::ptrdiff_t longest = std::max({a.stride, b.stride, b.columns});
  if (a.rows == 0 || b.columns == 0 || a.columns == 0 || a.columns > longest_sum ||
      longest > std::numeric_limits<int>::max())
    return false;
  if (threads != 1) threads = std::min(available_threads(threads), blas->threads());
  if (blas->wide.f64)
    multiply_with(blas->wide, a, b, out, dtype, shared, threads);
  else
    multiply_with(blas->narrow, a, b, out, dtype, shared, threads);
  return true;
}

}  // namespace fusedstep

"""Products of small matrices on fusedstep's threads have accurate results and the same bits for any number of threads.

A product writes nothing outside its result.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep import _core
from fusedstep.nn import _blas
from support.bits import Array, assert_same_bits, every_dtype
from support.fences import guarded, untouched_around
from support.interpreters import python
from support.machines import BACKENDS, machines

pytestmark = pytest.mark.skipif(not _blas.FOUND, reason="NumPy's BLAS is not OpenBLAS")

LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65)
# (m, k, n): a matrix of m rows and k columns is multiplied by a matrix of k rows and n columns.
SHAPES = (
    *((n, k, 5) for n, k in zip(LENGTHS, reversed(LENGTHS), strict=True)),
    *((3, n, 2 * n + 1) for n in LENGTHS),
    (64, 64, 256),  # this product and those below are computed in several tiles (parts of the result)
    (65, 257, 129),
    (200, 100, 300),
    (33, 784, 70),
    (9, 1024, 40),
    (257, 5, 1100),
)


def shares(core: str = "") -> bool:
    """Return True if several threads share a product. With `core`, OpenBLAS uses its kernels for this type of CPU."""
    if not core:
        out = np.empty((1, 1))
        return _core.product(np.ones((1, 1)), np.ones((1, 1)), out, False, 0)
    script = (
        "import numpy as np; from fusedstep import _core, nn; a = np.ones((1, 1))\n"
        "print(_core.product(a, a, np.empty_like(a), False, 0), _core.product(a, a, np.empty_like(a), False, 1))"
    )
    shared, alone = printed(script, OPENBLAS_CORETYPE=core).split()
    assert alone == "True"
    return shared == "True"


def printed(script: str, **environment: str) -> str:
    done = python(script, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


where_shared = pytest.mark.skipif(not (_blas.FOUND and shares()), reason="threads do not share a product on this CPU")


def matrices(m: int, k: int, n: int, dtype: Any) -> tuple[Array, Array]:
    rng = np.random.default_rng(m + 7 * k + 31 * n)
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


def within_bound(out: Array, a: Array, b: Array) -> bool:
    """Return True if the error of each element of the product is at most its bound.

    Each element is a sum of rounded products. The bound holds for every order of the additions. The sums with which
    `out` is compared are computed in float64 if `out` has float32, and in longdouble if it has float64.
    """
    wide: Any = np.longdouble if out.dtype == np.float64 else np.float64
    sizes = np.abs(a).astype(wide) @ np.abs(b).astype(wide)
    error = np.abs(out - a.astype(wide) @ b.astype(wide))
    return bool((error <= (a.shape[1] + 1) * np.finfo(out.dtype).eps / 2 * sizes).all())


def fenced_product(a: Array, b: Array, by_rows: bool, threads: int, start: int = 0) -> Array:
    """Return the product of a and b. Assert that nothing is written outside the result.

    Each thread computes some rows of the result if `by_rows` is True, and otherwise some columns. If `threads` is 0, as
    many threads are used as are allowed. The result begins `start` elements after an aligned address.
    """
    flat, memory = guarded(a.shape[0] * b.shape[1], a.dtype, start)
    out = flat.reshape(a.shape[0], b.shape[1])
    out[...] = np.nan
    assert _core.product(a, b, out, by_rows, threads)
    assert untouched_around(flat, memory)
    return out


@every_dtype
@pytest.mark.parametrize("shape", SHAPES)
def test_error_of_a_product_is_within_the_bound_for_rounding_errors(dtype: Any, shape: tuple[int, int, int]) -> None:
    a, b = matrices(*shape, dtype)
    assert within_bound(fenced_product(a, b, False, 1), a, b)


@where_shared
@every_dtype
@pytest.mark.parametrize("shape", SHAPES)
def test_product_has_the_same_bits_for_every_number_of_threads(dtype: Any, shape: tuple[int, int, int]) -> None:
    a, b = matrices(*shape, dtype)
    alone = fenced_product(a, b, False, 1)
    for machine in machines():
        for by_rows in (False, True):
            assert_same_bits(fenced_product(a, b, by_rows, 0, start=1), alone, machine)


@every_dtype
def test_product_accepts_strided_matrices_that_blas_supports(dtype: Any) -> None:
    """The factors are in C or Fortran order, or are slices of larger matrices."""
    a, b = matrices(70, 80, 190, dtype)  # computed in several tiles (parts of the result) along both axes
    wide_a, wide_b = np.zeros((70, 100), dtype), np.zeros((200, 190), dtype)
    wide_a[:, 10:90], wide_b[::2][:80] = a, b
    tall = np.asfortranarray(wide_a)
    for x in (a, np.asfortranarray(a), wide_a[:, 10:90], tall[:, 10:90]):
        for y in (b, np.asfortranarray(b), wide_b[::2][:80], b.T.copy().T):
            assert within_bound(fenced_product(x, y, False, 1), a, b)
    # The stride of an axis of length 1 can be any number, such as 8888.
    row, column = a[:1], np.lib.stride_tricks.as_strided(b, (80, 1), (b.strides[0], 8888))
    assert within_bound(fenced_product(row, b, False, 1), row, b)
    assert within_bound(fenced_product(a, column, False, 1), a, column)


@every_dtype
def test_product_returns_false_and_writes_nothing_for_matrices_that_only_numpy_multiplies(dtype: Any) -> None:
    """`_core.product` returns False. The functions of `_blas` then return the product of NumPy."""
    a, b = matrices(6, 8, 10, dtype)
    misaligned = np.frombuffer(bytearray(a.nbytes + 1), np.uint8)[1:].view(dtype).reshape(a.shape)
    misaligned[...] = a
    long_a, long_b = matrices(6, 1025, 10, dtype)
    cases = [
        (misaligned, b),
        (a[:, ::2], b[::2]),
        (a[::-1], b),
        (np.broadcast_to(a[:1], a.shape), b),
        (long_a, long_b),
        (a[:0], b),
        (a, b[:, :0]),
        (a[:, :0], b[:0]),
        (a.astype(np.float16), b),
        (a, b.astype(np.float64 if dtype == np.float32 else np.float32)),
        (a, b > 0),
        (a.astype(a.dtype.newbyteorder()), b),
        (a, np.ma.masked_array(b)),
    ]
    for x, y in cases:
        out = np.full((x.shape[0], y.shape[1]), 7.5, dtype)
        assert not _core.product(x, y, out, False, 1)
        assert not _core.product(x[None], y, out, False, 1)
        assert (out == 7.5).all()
        if not np.can_cast(y.dtype, dtype):
            continue  # NumPy does not cast the product to the dtype of out
        for product in (_blas.by_rows, _blas.by_columns):
            assert product(x, y, out, 0) is out
            assert within_bound(out, np.asarray(x), np.asarray(y))
            out[...] = 7.5


def test_product_returns_false_if_a_factor_shares_memory_with_the_result() -> None:
    """NumPy then computes the product.

    For example, a `Linear` writes every output into the same array. If its input is its previous output, a factor
    shares memory with the result.
    """
    a, b = matrices(8, 8, 8, np.float64)
    for swapped in (False, True):
        memory = np.zeros(72)
        x, out = memory[:64].reshape(8, 8), memory[8:].reshape(8, 8)
        x[...] = a
        left, right = (b, x) if swapped else (x, b)
        want = np.dot(left, right)
        assert not _core.product(left, right, out, False, 1)
        assert (x == a).all()
        assert_same_bits(_blas.by_columns(left, right, out, 0), want)


@pytest.mark.parametrize("threads", [1, pytest.param(0, marks=where_shared)])
def test_nan_and_inf_in_a_product_affect_only_their_row_and_column(threads: int) -> None:
    """NaN in the left factor affects only its row. Inf in the right factor affects only its column."""
    a, b = matrices(40, 64, 200, np.float64)
    a[3, 5], b[7, 150] = np.nan, np.inf
    out = fenced_product(a, b, False, threads)
    assert np.isnan(out[3]).all()
    assert not np.isfinite(out[:, 150]).any()
    rest = np.delete(np.delete(out, 3, 0), 150, 1)
    assert np.isfinite(rest).all()


def refused(a: Any, b: Any, out: Any) -> str:
    """Return the message of the error that `_core.product` raises. Assert that `out` does not change."""
    before = out.tobytes() if isinstance(out, np.ndarray) else b""
    with pytest.raises((TypeError, ValueError)) as caught:
        _core.product(a, b, out, False, 1)
    assert not isinstance(out, np.ndarray) or out.tobytes() == before
    return str(caught.value)


def test_product_refuses_wrong_arguments_and_names_them() -> None:
    a, b = matrices(4, 5, 6, np.float32)
    out = np.zeros((4, 6), np.float32)
    read_only = out.copy()
    read_only.flags.writeable = False
    assert "product: b must be of 5 rows, one for each column of a; got float32 (4, 6)" in refused(a, b[:4], out)
    fitting = "product: out must be of {} rows, one for each row of a, and {} columns, one for each column of b; got {}"
    assert fitting.format(3, 6, "float32 (4, 6)") in refused(a[:3], b, out)
    assert fitting.format(4, 5, "float32 (4, 6)") in refused(a, b[:, :5], out)
    assert "product: out must be a matrix; got float32 (6,)" in refused(a, b, out[0])
    assert "product: out must be a numpy.ndarray of float32 or float64; got list" in refused(a, b, [1.0])
    assert "product: out must be C-contiguous" in refused(a, b, out.T.copy().T)
    assert "product: out must be writeable" in refused(a, b, read_only)


def test_product_without_openblas_has_the_bits_of_numpy_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = matrices(70, 80, 90, np.float64)
    monkeypatch.setattr(_core, "product", lambda *arguments: False)
    out = np.empty((70, 90))
    assert_same_bits(_blas.by_columns(a, b, out, 10**6), np.dot(a, b))


@pytest.mark.parametrize("core", ["Haswell", "SkylakeX"])
def test_threads_share_small_products_only_if_openblas_does_not_copy_the_factors(core: str) -> None:
    """A thread computes a tile, which is a part of the product, with one call of OpenBLAS.

    The kernels for SkylakeX (AVX-512) do not copy the factors of products as small as a tile. The kernels for Haswell
    (AVX2) copy them in every call. All tiles of a product together then take up to four times as long as one call for
    the whole product.
    """
    if core == "SkylakeX" and "v4" not in _core.available_isas():
        pytest.skip("needs AVX-512")
    if "v3" not in _core.available_isas():
        pytest.skip("needs AVX2")
    assert shares(core) == (core == "SkylakeX")


# A BLAS in C with the functions of OpenBLAS. A call with more than 64 * 64 * 64 multiplications writes -1, because
# fusedstep must not make such a call.
OPENBLAS = """
#define NAME2(prefix, name, suffix) prefix##name##suffix
#define NAME1(prefix, name, suffix) NAME2(prefix, name, suffix)
#define NAME(name) NAME1(PREFIX, name, SUFFIX)
char* NAME(openblas_get_config)(void) { return CONFIG; }
char* NAME(openblas_get_corename)(void) { return "SkylakeX"; }
int NAME(openblas_get_num_threads)(void) { return 2; }
#define GEMM(name, T) \\
  void NAME(name)(int order, int of_a, int of_b, Int m, Int n, Int k, T alpha, const T* a, Int lda, \\
                  const T* b, Int ldb, T beta, T* out, Int ldc) { \\
    for (Int i = 0; i < m; ++i) \\
      for (Int j = 0; j < n; ++j) { \\
        T sum = 0; \\
        for (Int l = 0; l < k; ++l) \\
          sum += (of_a == 111 ? a[i * lda + l] : a[l * lda + i]) * (of_b == 111 ? b[l * ldb + j] : b[j * ldb + l]); \\
        out[i * ldc + j] = order == 101 && m * n * k <= 64 * 64 * 64 ? sum : -1; \\
      } \\
  }
GEMM(cblas_sgemm, float)
GEMM(cblas_dgemm, double)
"""

# A script that multiplies with the BLAS at the given path. With the path "none", `_core.product` must return False.
MULTIPLY = """
import ctypes, sys
import numpy as np
from fusedstep import _core
path = sys.argv[1]
assert not _core.find_blas(b"") if path == "none" else ctypes.CDLL(path) and _core.find_blas(path.encode())
for a, b in ((np.ones((70, 200)), np.ones((200, 190))), (np.ones((200, 70)).T, np.ones((190, 200)).T)):
    out = np.full((70, 190), 7.5)
    if _core.product(a, b, out, False, 0):
        assert (out == 200).all()
    else:
        assert path == "none" and (out == 7.5).all()
"""


def build(folder: Path, source: str, *macros: str) -> Path:
    library = folder / "libopenblas.so"
    (folder / "openblas.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", *macros, "-o", library, folder / "openblas.c"], check=True)
    return library


compiles = pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here")


@compiles
@pytest.mark.parametrize("integer", ["int", "long long"])
@pytest.mark.parametrize(("prefix", "suffix"), [("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")])
def test_openblas_is_found_for_every_known_prefix_and_suffix_of_its_functions(
    prefix: str, suffix: str, integer: str, tmp_path: Path
) -> None:
    """OpenBLAS's configuration text shows the size of its integers. The names of its functions do not show this size.

    For example, Fedora's libopenblas64 has 64-bit integers, but its function names end without the suffix `64_`.
    """
    config = '"OpenBLAS USE64BITINT"' if integer == "long long" else '"OpenBLAS"'
    library = build(
        tmp_path, OPENBLAS, f"-DPREFIX={prefix}", f"-DSUFFIX={suffix}", f"-DInt={integer}", f"-DCONFIG={config}"
    )
    subprocess.run([sys.executable, "-c", MULTIPLY, library], check=True)


# A BLAS that writes the number of the calling thread into every element of a product. The first thread has number 1.
WHO_MULTIPLIES = """
#include <stdatomic.h>
static atomic_int threads = 0;
static _Thread_local int mine = 0;
char* openblas_get_config(void) { return "OpenBLAS"; }
char* openblas_get_corename(void) { return "SkylakeX"; }
int openblas_get_num_threads(void) { return 2; }
void cblas_sgemm(void) {}
void cblas_dgemm(int order, int of_a, int of_b, int m, int n, int k, double alpha, const double* a, int lda,
                 const double* b, int ldb, double beta, double* out, int ldc) {
  if (!mine) mine = ++threads;
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) out[i * ldc + j] = mine;
}
"""

# A script that computes products with this BLAS, and reads from the results which thread computed which element.
LOOK = """
import ctypes, sys
import numpy as np
from fusedstep import _core
ctypes.CDLL(sys.argv[1])
assert _core.find_blas(sys.argv[1].encode())
a, b, out = np.ones((64, 64)), np.ones((64, 256)), np.empty((64, 256))  # two tiles along each axis
def owners(forced, by_rows, threads=0):
    _core.force_threads(forced)
    assert _core.product(a, b, out, by_rows, threads)
    return out
for forced, threads in ((1, 0), (2, 1)):
    assert (owners(forced, True, threads) == 1).all()
rows = owners(2, True).copy()
assert (rows == rows[:, :1]).all() and len(np.unique(rows)) == 2
columns = owners(2, False)
assert (columns == columns[:1]).all() and len(np.unique(columns)) == 2
"""


@compiles
@pytest.mark.skipif("openmp" not in BACKENDS, reason="needs OpenMP, in which each thread computes only its own tiles")
def test_each_thread_computes_its_own_rows_or_columns_of_a_product(tmp_path: Path) -> None:
    """A tile is a part of the product. With a limit of one thread, the calling thread computes all tiles.

    Each of two threads computes the tiles of its own rows if `by_rows` is True, and otherwise of its own columns.
    """
    environment = os.environ | {"FUSEDSTEP_BACKEND": "openmp"}
    subprocess.run([sys.executable, "-c", LOOK, build(tmp_path, WHO_MULTIPLIES)], check=True, env=environment)


# A script that compares products by 1 to 8 threads with those of NumPy.
SHARE = """
import ctypes, sys
import numpy as np
from fusedstep import _core
ctypes.CDLL(sys.argv[1])
assert _core.find_blas(sys.argv[1].encode())
rng = np.random.default_rng(0)
for m, k, n in ((1, 1, 1), (64, 64, 256), (65, 257, 129), (200, 100, 300), (33, 784, 70), (257, 5, 1100)):
    a, b = (rng.integers(-9, 10, shape).astype(float) for shape in ((m, k), (k, n)))
    for threads in (1, 2, 3, 8):
        _core.force_threads(threads)
        for by_rows in (False, True):
            out = np.full((m, n), np.nan)
            assert _core.product(a, b, out, by_rows, 0)
            assert (out == a @ b).all(), (m, k, n, threads, by_rows)
"""


@compiles
def test_products_shared_by_1_to_8_threads_are_correct(tmp_path: Path) -> None:
    """Threads share a product only if the BLAS reports a CPU with AVX-512. The BLAS of this test always reports one."""
    macros = ("-DPREFIX=", "-DSUFFIX=", "-DInt=int", '-DCONFIG="OpenBLAS"')
    subprocess.run([sys.executable, "-c", SHARE, build(tmp_path, OPENBLAS, *macros)], check=True)


def test_product_returns_false_without_openblas() -> None:
    subprocess.run([sys.executable, "-c", MULTIPLY, "none"], check=True)


@pytest.mark.parametrize("file", [None, "/no/such/file.so", "/undecodable/\udcff.so"])
def test_networks_work_if_the_blas_of_numpy_is_not_found(file: str | None) -> None:
    """The package finds the BLAS through the path of NumPy's extension module. Here, this path is missing or wrong."""
    script = (
        "import sys, numpy as np\n"
        f"sys.modules['numpy._core._multiarray_umath'].__file__ = {file!r}\n"
        "from fusedstep import nn\n"
        "from fusedstep.nn import _blas\n"
        "print(_blas.FOUND, nn.Sequential(nn.Linear(3, 2), rng=0).forward(np.ones((4, 3), np.float32)).shape)"
    )
    assert printed(script) == "False (4, 2)\n"


@where_shared
def test_product_uses_no_more_threads_than_openblas_may_use() -> None:
    """OPENBLAS_NUM_THREADS limits the threads of OpenBLAS, and also the threads of fusedstep that compute products."""
    script = (
        "import numpy as np, os; from fusedstep import _core, nn\n"
        "_core.force_threads(4)\n"
        "a = np.ones((256, 256))\n"
        "assert _core.product(a, a, np.empty_like(a), False, 0)\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    assert printed(script, OPENBLAS_NUM_THREADS="1", FUSEDSTEP_BACKEND="threads") == "1\n"


def test_several_python_threads_can_compute_products_at_the_same_time() -> None:
    a, b = matrices(64, 256, 256, np.float64)
    want, results = fenced_product(a, b, False, 1), [np.empty((64, 256)) for _ in range(8)]

    def multiply(out: Array) -> None:
        for _ in range(20):
            _blas.by_columns(a, b, out, 10**6)

    threads = [threading.Thread(target=multiply, args=(out,)) for out in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(within_bound(out, a, b) for out in results)
    assert not shares() or all(out.tobytes() == want.tobytes() for out in results)


def test_small_batches_of_small_networks_use_one_core() -> None:
    """`stays_on_one_core` has two arguments: the batch size and the number of elements of the largest weight matrix."""
    assert _blas.stays_on_one_core(64, 128 * 128) and _blas.stays_on_one_core(1, 32768)
    assert not _blas.stays_on_one_core(65, 1)
    assert not _blas.stays_on_one_core(1, 256 * 256)

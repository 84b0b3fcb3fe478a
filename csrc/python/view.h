// How the elements of an array or a tensor lie in memory, whoever owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "formats/format.h"

namespace fusedstep::bind {

/// Borrowed: the shape and strides are the owner's. `unit` is what a stride counts: 1 or the bytes of an item.
struct View {
  char* data = nullptr;
  std::ptrdiff_t item_size = 1;
  int ndim = 0;
  const std::ptrdiff_t* shape = nullptr;
  const std::ptrdiff_t* strides = nullptr;
  std::ptrdiff_t unit = 1;
  DType dtype = DType::f32;
  bool writeable = true;

  std::ptrdiff_t stride(int d) const { return strides[d] * unit; }
  std::ptrdiff_t size() const {
    std::ptrdiff_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= shape[d];
    return n;
  }
  bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(data) % std::uintptr_t(item_size) == 0; }
};

// Looking at a few hundred arrays is waiting for memory: the next ones are asked for this far ahead.
constexpr std::size_t ahead = 8;

bool same_shape(const View& a, const View& b);

/// Axes longer than 1 from the widest stride to the narrowest.
std::vector<int> memory_order(const View& view);

/// True if the elements fill a stretch of memory, each element once, in some order of the axes.
bool is_dense(const View& view, const std::vector<int>& order);

/// True if the elements lie one behind the other, the last axis's next to each other.
bool is_in_order(const View& view);

/// True if no two elements share memory.
bool is_disjoint(const View& view);

/// The bytes from the lowest to behind the highest that the elements touch; an empty view has none.
struct Extent {
  const char *low, *high;
  bool empty() const { return low == high; }
  bool meets(const Extent& other) const { return low < other.high && other.low < high; }
};
Extent extent(const View& view);

/// True if an element of one shares memory with an element of the other. Exact; where that would take too long (some
/// ten thousand steps, for strides that no library makes), it is taken for granted.
bool share_memory(const View& a, const View& b);

/// How a view, of the shape of a parameter whose axes in memory are `order`, is walked in that order. `dims` are what
/// the result points to.
Strided describe_layout(const View& view, const std::vector<int>& order, std::vector<Strided::Dim>& dims);

/// What a view was when it was checked. One that still matches needs no second look.
class Snapshot {
 public:
  Snapshot() = default;
  explicit Snapshot(const View& view);

  enum class Use { read, write };  // what is only read may become read-only or writeable
  bool matches(const View& view, Use use = Use::write) const { return view.data == data_ && lies_like(view, use); }

  /// The same but for the address.
  bool lies_like(const View& view, Use use = Use::write) const {
    if (view.ndim != ndim_ || view.dtype != dtype_) return false;
    if (use == Use::write && view.writeable != writeable_) return false;
    const std::ptrdiff_t* const seen = axes();
    for (int d = 0; d < ndim_; ++d)
      if (view.shape[d] != seen[d] || view.stride(d) != seen[ndim_ + d]) return false;
    return true;
  }

  View view() const;

  /// Asks for the memory that `matches` will read.
  void prefetch() const {
    __builtin_prefetch(this);
    __builtin_prefetch(reinterpret_cast<const char*>(this) + 64);
  }

 private:
  static constexpr int few = 4;
  const std::ptrdiff_t* axes() const { return ndim_ <= few ? few_ : many_.data(); }

  char* data_ = nullptr;
  int ndim_ = -1;  // matches nothing
  DType dtype_ = DType::f32;
  bool writeable_ = false;
  std::ptrdiff_t few_[2 * few] = {};  // sizes, then strides; here, not on the heap: a look at hundreds of arrays is
                                      // waiting for memory
  std::vector<std::ptrdiff_t> many_;
};

}  // namespace fusedstep::bind

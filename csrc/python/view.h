// Describes where the elements of an array or a tensor are in memory, for NumPy, torch and DLPack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "formats/format.h"

namespace fusedstep::bind {

/// The name of a dtype, for errors.
inline const char* name_of(DType d) {
  constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16", "uint8", "int16", "int32"};
  return names[int(d)];
}

/// A view points to the shape and the strides of its owner. The unit of the strides is `unit` bytes: 1, or the size of
/// an item.
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
  /// The size of an item is a power of two, so no division is needed. A division would take longer than the whole rest
  /// of the description of an array.
  bool is_aligned() const { return (reinterpret_cast<std::uintptr_t>(data) & std::uintptr_t(item_size - 1)) == 0; }
};

// Loops over hundreds of arrays are limited by memory. So they prefetch data of the array that comes this many arrays
// later.
constexpr std::size_t ahead = 8;

bool same_shape(const View& a, const View& b);

/// The axes whose size is not 1, from the largest stride to the smallest.
std::vector<int> memory_order(const View& view);

/// True if the elements fill a contiguous range of memory without repeated elements. `order` must be
/// memory_order(view).
bool is_dense(const View& view, const std::vector<int>& order);

/// True if the view has C order without gaps.
bool is_in_order(const View& view);

/// True if no two elements share memory.
bool is_disjoint(const View& view);

/// The range from the lowest byte of the elements to the end of the highest element. It is empty for an empty view.
struct Extent {
  const char *low, *high;
  bool empty() const { return low == high; }
  bool meets(const Extent& other) const { return low < other.high && other.low < high; }
};
inline Extent extent(const View& v) {
  const char *low = v.data, *high = low + v.item_size;
  for (int d = 0; d < v.ndim; ++d) {
    if (v.shape[d] == 0) return {v.data, v.data};
    const std::ptrdiff_t reach = (v.shape[d] - 1) * v.stride(d);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

/// True if an element of a shares memory with an element of b. The answer is exact if the search takes at most 20,000
/// iterations, which is the case for strides that libraries produce. Otherwise the answer is true.
bool share_memory(const View& a, const View& b);

/// Describes a view that has the shape of a parameter. `order` is the parameter's memory_order, and the description has
/// the axes in this order. The result points to `dims`.
Strided describe_layout(const View& view, const std::vector<int>& order, std::vector<Strided::Dim>& dims);

/// A copy of a view that was checked. If a later view matches the copy, it is not checked again.
class Snapshot {
 public:
  Snapshot() = default;
  explicit Snapshot(const View& view);

  enum class Use { read, write };  // read: `writeable` is not compared
  bool matches(const View& view, Use use = Use::write) const { return view.data == data_ && lies_like(view, use); }

  /// Like `matches`, but the address may differ.
  bool lies_like(const View& view, Use use = Use::write) const {
    if (view.ndim != ndim_ || view.dtype != dtype_) return false;
    if (use == Use::write && view.writeable != writeable_) return false;
    const std::ptrdiff_t* const seen = axes();
    for (int d = 0; d < ndim_; ++d)
      if (view.shape[d] != seen[d] || view.stride(d) != seen[ndim_ + d]) return false;
    return true;
  }

  View view() const;

  /// Prefetches the memory that `matches` will read.
  void prefetch() const {
    __builtin_prefetch(this);
    __builtin_prefetch(reinterpret_cast<const char*>(this) + 64);
  }

 private:
  static constexpr int few = 4;
  const std::ptrdiff_t* axes() const { return ndim_ <= few ? few_ : many_.data(); }

  char* data_ = nullptr;
  int ndim_ = -1;  // -1 matches nothing
  DType dtype_ = DType::f32;
  bool writeable_ = false;
  // Sizes, then strides. They are stored in the object, because reading them from the heap is slow for hundreds of
  // arrays.
  std::ptrdiff_t few_[2 * few] = {};
  std::vector<std::ptrdiff_t> many_;
};

}  // namespace fusedstep::bind

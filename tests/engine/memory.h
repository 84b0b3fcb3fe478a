// Memory for the input of a test, and the hash of its output.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "formats/dtype.h"

namespace fusedstep::test {

/// Hashes an index (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

/// The bits of a binary floating-point format.
struct NumberBits {
  std::uint64_t sign, infinity, quiet, low, range;  // the bits low + [0, range) are the numbers in [2^-7, 2)

  static NumberBits of(DType d) {
    if (d == DType::bf16) return {0x8000, 0x7f80, 0x40, 0x3c00, 0x400};
    if (d == DType::f16) return {0x8000, 0x7c00, 0x200, 0x2000, 0x2000};
    if (d == DType::f32) return {0x80000000u, 0x7f800000u, 0x400000u, 0x3c000000u, 0x4000000u};
    return {1ull << 63, 0x7ffull << 52, 1ull << 51, 0x3f8ull << 52, 0x8ull << 52};
  }

  /// Zeros, denormals, the smallest and the largest normal number, infinities and nan, with both signs.
  std::uint64_t special(std::uint64_t k) const {
    const std::uint64_t smallest = infinity & (~infinity + 1);  // the exponent's lowest bit
    const std::uint64_t values[] = {0, 1, smallest - 1, smallest, infinity - 1, infinity, infinity | quiet};
    return values[k / 2 % 7] | (k % 2 ? sign : 0);
  }
};

enum class Values {
  both_signs,
  positive,
  special,
  huge
};  // special: one number in four is special; huge: float64 numbers whose squares overflow

/// Memory for exactly `count` numbers. Its address is a multiple of the size of a number, but not of twice this size.
class Memory {
 public:
  Memory(std::ptrdiff_t count, DType dtype, std::uint64_t seed = 0, Values values = Values::both_signs)
      : count_(count), dtype_(dtype), bytes_(new unsigned char[(std::size_t(count) + 1) * item()]) {
    if (!is_number(dtype)) {
      std::memset(data(), 0, std::size_t(count) * item());
      return;
    }
    const NumberBits f = NumberBits::of(dtype);
    const std::uint64_t low = f.low + (values == Values::huge && dtype == DType::f64 ? 700ull << 52 : 0);
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      const std::uint64_t r = mix(seed << 32 | std::uint64_t(i)), number = low + (r >> 8) % f.range;
      const bool negative = values != Values::positive && r & 1, special = values == Values::special && r % 8 < 2;
      set(i, special ? f.special(r >> 8) : number | (negative ? f.sign : 0));
    }
  }

  void* data() const { return bytes_.get() + item(); }
  void* at(std::ptrdiff_t i) const { return bytes_.get() + (std::size_t(i) + 1) * item(); }
  std::ptrdiff_t count() const { return count_; }
  std::size_t item() const { return std::size_t(item_size(dtype_)); }
  DType dtype() const { return dtype_; }

  std::uint64_t bits(std::ptrdiff_t i) const {  // all supported machines are little-endian
    std::uint64_t value = 0;
    std::memcpy(&value, at(i), item());
    return value;
  }
  void set(std::ptrdiff_t i, std::uint64_t value) { std::memcpy(at(i), &value, item()); }

 private:
  std::ptrdiff_t count_;
  DType dtype_;
  std::unique_ptr<unsigned char[]> bytes_;
};

/// A hash of numbers. All nans have the same hash, because their sign and payload depend on the machine and on the
/// compiler. For example, x86 produces negative nans, and ARM produces positive nans. All bits of other numbers are
/// hashed.
class Hash {
 public:
  void add(std::uint64_t bits) {
    state_ = (state_ ^ bits) * 0x9E3779B97F4A7C15u;
    state_ ^= state_ >> 32;
  }
  void add(const Memory& m) {
    const NumberBits f = NumberBits::of(m.dtype());
    for (std::ptrdiff_t i = 0; i < m.count(); ++i) {
      const std::uint64_t bits = m.bits(i);
      add(is_number(m.dtype()) && (bits & ~f.sign) > f.infinity ? f.infinity | f.quiet : bits);
    }
  }
  void add(double x) {
    Memory one(1, DType::f64);
    std::memcpy(one.data(), &x, sizeof x);
    add(one);
  }
  void add(const std::vector<double>& values) {
    for (const double x : values) add(x);
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0;
};

}  // namespace fusedstep::test

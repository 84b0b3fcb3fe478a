// Measures the time of decoding and encoding codes of 8 bits for numbers of at least 0. Encoding rounds stochastically.
// All arrays are in the first-level cache. The scale and the random bits are inputs. Run this in the repository's root:
//   g++ -std=c++20 -O3 -march=x86-64-v3 -ffp-contract=off -fno-math-errno -fno-trapping-math -Icsrc
//   bench/widths/codes.cpp -o codes && ./codes
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <vector>

#include "formats/u8.h"

namespace {

using fusedstep::bits_of, fusedstep::float_of;
constexpr int n = 4096, repeats = 100, rounds = 400;
std::uint8_t codes[n];
std::uint32_t noise[n];  // 16 random bits
float numbers[n], table[256];

struct Ours {
  using Codes = fusedstep::u8_codes<true>;
  static constexpr float scale = 0x1p-31f;
  static float decode(std::uint32_t c) { return Codes::decode(c, scale); }
  static std::uint32_t encode(float x, std::uint32_t r) { return Codes::encode<true>(x, 1 / scale, r); }
};

/// 5 bits of exponent and 3 bits of mantissa. The codes 0 to 7 are multiples of `unit`. 1 has the highest exponent.
struct E5M3 {
  static constexpr std::uint32_t rebias = (127u - 31u) << 23;  // exponent of float32 - exponent of the code
  static constexpr float unit = 0x1p-33f;                      // distance of the numbers with the codes 0 to 8
  static float decode(std::uint32_t c) { return c < 8 ? float(std::int32_t(c)) * unit : float_of((c << 20) + rebias); }
  static std::uint32_t encode(float x, std::uint32_t r) {
    const std::uint32_t large = (bits_of(x) - rebias + (r << 4)) >> 20;
    const float part = std::min(x, 8 * unit) * (1 / unit) + float(std::int32_t(r)) * 0x1p-16f;
    return x < 8 * unit ? std::uint32_t(std::int32_t(part)) : large;
  }
};

struct Linear {
  static float decode(std::uint32_t c) { return float(std::int32_t(c)) * (1 / 255.0f); }
  static std::uint32_t encode(float x, std::uint32_t r) {
    return std::uint32_t(std::int32_t(x * 255.0f + float(std::int32_t(r)) * 0x1p-16f));
  }
};

/// The code c means c^2 / 255^2. The probability of rounding up is such that the mean of many roundings is the number.
struct Root {
  static float decode(std::uint32_t c) {
    const float s = float(std::int32_t(c)) * (1 / 255.0f);
    return s * s;
  }
  static std::uint32_t encode(float x, std::uint32_t r) {
    const float y = x * (255.0f * 255.0f);
    const std::int32_t c = std::int32_t(std::sqrt(y));
    const float low = float(c), above = (y - low * low) * 0x1p16f;
    return std::uint32_t(c) + (float(std::int32_t(r)) * (2 * low + 1) < above ? 1 : 0);
  }
};

/// Any table of 256 numbers. Encoding is a binary search, as for a dynamic map.
struct Table {
  static float decode(std::uint32_t c) { return table[c]; }
  static std::uint32_t encode(float x, std::uint32_t r) {
    std::uint32_t c = 0;
    for (std::uint32_t step = 128; step > 0; step /= 2) c += x >= table[c + step] ? step : 0;
    const float low = table[c], high = table[std::min(c + 1, 255u)];
    return c + (float(std::int32_t(r)) * (high - low) < (x - low) * 0x1p16f ? 1 : 0);
  }
};

template <class Code>
[[gnu::noinline]] void pass() {
  for (int i = 0; i < n; ++i) numbers[i] = Code::decode(codes[i]) * 0.999f;
  for (int i = 0; i < n; ++i) codes[i] = std::uint8_t(Code::encode(numbers[i], noise[i]));
}

template <class Code>
void measure(const char* name) {
  std::vector<double> ns;
  for (int k = 0; k < rounds; ++k) {
    for (int i = 0; i < n; ++i) codes[i] = std::uint8_t(i * 37 % 255);
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i < repeats; ++i) pass<Code>();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
    ns.push_back(took.count() / repeats / n);
  }
  std::sort(ns.begin(), ns.end());
  std::printf("%-14s %.2f ns per element, the shortest of %d rounds\n", name, ns.front(), rounds);
}

}  // namespace

int main() {
  std::uint32_t x = 1;
  for (std::uint32_t& r : noise) r = (x = x * 1664525u + 1013904223u) >> 16;
  for (int c = 0; c < 256; ++c) table[c] = E5M3::decode(std::uint32_t(c));
  measure<Ours>("fusedstep");
  measure<E5M3>("E5M3");
  measure<Linear>("linear");
  measure<Root>("square root");
  measure<Table>("any table");
}

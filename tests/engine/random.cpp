// Philox, dropout, noise, and conversions of 16-bit floats.
#include <cstring>

#include "cases.h"
#include "memory.h"
#include "random/random.h"
#include "step/kernel.h"

namespace fusedstep::test {
namespace {

constexpr RandomStream stream{0x299f31d0a4093822u, 0x0370734413198a2eu};
// With the last number, the lower word of the block's index overflows.
constexpr std::uint64_t firsts[] = {0, 5, (1ull << 35) - 100};

std::uint64_t dropped(DType dtype, std::ptrdiff_t n, const Drop& d, bool past_cache, int threads) {
  Memory x(n, dtype, 1, Values::special), y(n, dtype);
  const Broadcast all{1, n, d.run, {}};
  drop(x.data(), y.data(), dtype, all, d, threads, past_cache ? 0 : last_level_cache());
  drop(x.data(), x.data(), dtype, all, d, threads);
  Hash hash;
  hash.add(y), hash.add(x);
  return hash.value();
}

std::uint64_t noisy(DType dtype, std::ptrdiff_t n, std::uint64_t first, int threads) {
  Memory x(n, dtype, 1), y(n, dtype);
  const Noise noise{stream, first, 0.3};
  add_noise(nullptr, y.data(), dtype, n, noise, threads);
  add_noise(x.data(), x.data(), dtype, n, noise, threads);
  Hash hash;
  hash.add(y), hash.add(x);
  return hash.value();
}

std::uint64_t words_and_masks() {
  const RandomKernels& random = random_kernels();
  Hash hash;
  for (const std::uint64_t first : firsts) {
    std::vector<std::uint32_t> words(1001), block(4);
    random.words(stream, first, 1001, words.data());
    random.block(stream, first, block.data());
    std::vector<std::uint8_t> mask(2003);
    keep(mask.data(), 2003, {stream, first, 1, 20000, 1}, 1);
    for (const std::uint32_t w : words) hash.add(std::uint64_t(w));
    for (const std::uint32_t w : block) hash.add(std::uint64_t(w));
    for (const std::uint8_t m : mask) hash.add(std::uint64_t(m));
  }
  return hash.value();
}

/// Converts all 16-bit numbers to float32 and back, and float32 numbers of all exponents to 16 bits.
std::uint64_t halves(DType dtype) {
  const FormatKernels& format = step_kernels().formats[int(dtype)];
  constexpr std::ptrdiff_t all = 1 << 16;
  Memory narrow(all, dtype), wide(all, DType::f32), any(all, DType::f32);
  for (std::ptrdiff_t i = 0; i < all; ++i) {
    narrow.set(i, std::uint64_t(i));
    any.set(i, mix(std::uint64_t(i)));
  }
  Hash hash;
  const Stream items{{static_cast<char*>(narrow.data())}, format_of(dtype)};
  format.decode(items, 0, all, wide.data());
  hash.add(wide);
  for (const Memory* m : {&wide, &any})
    for (const bool stochastic : {false, true}) {
      format.encode(m->data(), items, 0, all, {stochastic, 7});
      hash.add(narrow);
    }
  return hash.value();
}

std::uint64_t roofline(DType dtype) {
  Hash hash;
  for (int count = 1; count <= 5; ++count) {
    const Memory read(1001, dtype, 9);
    std::vector<Memory> written;
    std::vector<void*> pointers;
    for (int k = 0; k < count; ++k) pointers.push_back(written.emplace_back(1001, dtype, std::uint64_t(k)).data());
    step_kernels().roofline[int(dtype)](pointers.data(), count, read.data(), 3, 990);
    for (const Memory& m : written) hash.add(m);
  }
  return hash.value();
}

constexpr std::ptrdiff_t lengths[] = {10007, 100003};

std::string prefix(DType dtype) { return std::string("/") + name_of(dtype) + "/"; }

void add_dropout(Cases& cases, DType dtype) {
  for (const std::uint64_t first : firsts)
    for (const std::ptrdiff_t n : lengths)
      for (const std::ptrdiff_t run : {1, 7})
        for (const std::int32_t threshold : {0, 1, 32768, 65536})
          cases.push_back({"dropout" + prefix(dtype) + std::to_string(n) + "/from-" + std::to_string(first) +
                               "/runs-of-" + std::to_string(run) + "/threshold-" + std::to_string(threshold),
                           n > 20000, [=](int threads) {
                             const Drop drop{stream, first, run, threshold, 65536.0 / (65537 - threshold)};
                             return dropped(dtype, n, drop, n > 20000, threads);
                           }});
}

void add_others(Cases& cases, DType dtype) {
  for (const std::uint64_t first : firsts)
    for (const std::ptrdiff_t n : lengths)
      cases.push_back({"noise" + prefix(dtype) + std::to_string(n) + "/from-" + std::to_string(first), n > 20000,
                       [=](int threads) { return noisy(dtype, n, first, threads); }});
  cases.push_back({"roofline" + prefix(dtype), false, [=](int) { return roofline(dtype); }});
}

}  // namespace

void add_random(Cases& cases) {
  cases.push_back({"philox", false, [](int) { return words_and_masks(); }});
  for (const DType dtype : {DType::bf16, DType::f16})
    cases.push_back({std::string("halves/") + name_of(dtype), false, [=](int) { return halves(dtype); }});
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) add_dropout(cases, dtype);
  for (const DType dtype : {DType::f32, DType::f64}) add_others(cases, dtype);
}

}  // namespace fusedstep::test

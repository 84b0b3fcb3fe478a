// The cases of the engine's test.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "formats/dtype.h"

namespace fusedstep::test {

/// `run` computes from nothing and hashes all that was written: the same on every machine, for any number of threads.
struct Case {
  std::string name;
  bool parallel;  // large enough for threads
  std::function<std::uint64_t(int threads)> run;
};

using Cases = std::vector<Case>;
void add_steps(Cases& cases);
void add_batch_norm(Cases& cases);
void add_network(Cases& cases);
void add_random(Cases& cases);

constexpr const char* name_of(DType d) {
  return d == DType::f32 ? "f32" : d == DType::f64 ? "f64" : d == DType::bf16 ? "bf16" : "f16";
}

/// The thread pool used from several threads at once, asleep and awake, and in a forked child. Prints what is wrong.
bool concurrency_works(const Cases& cases);

/// A mistake that "address", "undefined" or "thread" sanitizers must find; false for any other name.
bool make_fault(const std::string& sanitizer);

}  // namespace fusedstep::test

// The cases of the engine's test.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "formats/dtype.h"

namespace fusedstep::test {

/// `run` makes its own input and returns a hash of everything that was written. The hash is the same on every machine
/// and for any number of threads.
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

/// Tests the thread pool: from several threads at once, asleep and awake, and in a forked child. Prints what is wrong.
bool concurrency_works(const Cases& cases);

/// Makes a mistake that the sanitizer "address", "undefined" or "thread" must find; false for any other name.
bool make_fault(const std::string& sanitizer);

}  // namespace fusedstep::test

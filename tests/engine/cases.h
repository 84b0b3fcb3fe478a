// The cases of the engine's test. A case computes something with the engine and hashes the results.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "formats/dtype.h"

namespace fusedstep::test {

/// `run` creates its own input and returns a hash of all results. The hash must be the same on every machine and for
/// every number of threads.
struct Case {
  std::string name;
  bool parallel;  // true: the arrays are large enough for several threads
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

/// Tests the thread pool. Several threads use it at the same time, while its own threads sleep or are awake. A forked
/// process also uses it. Prints the errors.
bool concurrency_works(const Cases& cases);

/// Makes a mistake that the sanitizer with this name must find: "address", "undefined" or "thread". Returns false for
/// other names.
bool make_fault(const std::string& sanitizer);

}  // namespace fusedstep::test

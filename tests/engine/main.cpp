// engine_test                     prints the hash of each case, and checks that all instruction sets and numbers of
//                                 threads have the same hash
// engine_test --backend openmp    does the same with libgomp's threads
// engine_test --concurrency       tests the thread pool with several threads at the same time
// engine_test --fault KIND        makes a mistake that the sanitizer KIND must find
#include <cstdio>
#include <map>
#include <stdexcept>

#include "cases.h"
#include "machine/level.h"
#include "machine/parallel.h"

namespace fusedstep::test {
namespace {

constexpr int thread_counts[] = {1, 2, 5};

/// Runs every case with every instruction set and number of threads. Returns false if two hashes of the same case
/// differ.
bool same_bits_everywhere(const Cases& cases) {
  bool same = true;
  for (const Case& c : cases) {
    std::map<std::uint64_t, std::string> seen;
    for (const std::string& isa : available_isas()) {
      set_isa(isa);
      for (const int threads : thread_counts)
        if (threads == 1 || c.parallel) seen.try_emplace(c.run(threads), isa + ", threads: " + std::to_string(threads));
    }
    std::printf("%016llx %s\n", static_cast<unsigned long long>(seen.begin()->first), c.name.c_str());
    if (seen.size() == 1) continue;
    same = false;
    for (const auto& [hash, where] : seen)
      std::fprintf(stderr, "%s: %016llx first on %s\n", c.name.c_str(), static_cast<unsigned long long>(hash),
                   where.c_str());
  }
  return same;
}

int main(const std::vector<std::string>& arguments) {
  const std::string what = arguments.empty() ? "" : arguments[0], value = arguments.size() == 2 ? arguments[1] : "";
  if (!use_backend(what == "--backend" ? value.c_str() : "threads"))
    throw std::invalid_argument("--backend must be a back end that this machine has; got " + value);
  if (what == "--fault") {
    if (!make_fault(value)) throw std::invalid_argument("--fault must be address, undefined or thread; got " + value);
    std::puts("the fault was not found");
    return 0;
  }
  Cases cases;
  add_steps(cases);
  add_batch_norm(cases);
  add_network(cases);
  add_random(cases);
  if (what == "--concurrency") return concurrency_works(cases) ? 0 : 1;
  for (const std::string& isa : available_isas()) std::fprintf(stderr, "instruction set: %s\n", isa.c_str());
  return same_bits_everywhere(cases) ? 0 : 1;
}

}  // namespace
}  // namespace fusedstep::test

int main(int count, char** arguments) {
  try {
    return fusedstep::test::main({arguments + 1, arguments + count});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engine_test: %s\n", error.what());
    return 2;
  }
}

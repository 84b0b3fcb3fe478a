// Deliberate mistakes in calls of the kernels and of the thread pool. A sanitizer must report each of them.
#include <atomic>
#include <chrono>
#include <thread>

#include "cases.h"
#include "machine/parallel.h"
#include "memory.h"
#include "step/plan.h"

namespace fusedstep::test {
namespace {

constexpr std::ptrdiff_t n = 1000;

/// Takes a step of rule 0 on `count` elements of `p`. Nothing is checked before the step.
void step(char* p, const Memory& g, std::ptrdiff_t count) {
  Memory states(max_states * count, DType::f32, 1, Values::positive);
  Tensor t;
  t.p.data = p, t.size = count, t.active = true;
  for (int s = 0; s < max_states; ++s) t.states[s] = states.at(s * count);
  t.gradient.data = static_cast<char*>(g.data());
  Group group;
  group.lr = 0.1;
  Plan(0, {t}, {group}, 0.9).step({}, 1);
}

/// The size of the tensor is one element larger than its memory.
void beyond_the_end() {
  const Memory p(n, DType::f32), g(n + 1, DType::f32);
  step(static_cast<char*>(p.data()), g, n + 1);
}

/// The tensor is not aligned to the size of its items.
void misaligned() {
  const Memory p(n + 1, DType::f32), g(n, DType::f32);
  step(static_cast<char*>(p.data()) + 1, g, n);
}

/// Two threads write to one variable without synchronization. Each thread first waits until the other has started.
void race() {
  std::int64_t sum = 0;
  std::atomic<int> inside{0};
  const auto end_of_patience = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  parallel_for(2, 2, [&](std::int64_t begin, std::int64_t end) {
    // Relaxed operations do not order the writes to `sum`, so these writes are a race.
    inside.fetch_add(1, std::memory_order_relaxed);
    while (inside.load(std::memory_order_relaxed) < 2 && std::chrono::steady_clock::now() < end_of_patience)
      std::this_thread::yield();
    sum += end - begin;
  });
}

}  // namespace

bool make_fault(const std::string& sanitizer) {
  if (sanitizer == "address") return beyond_the_end(), true;
  if (sanitizer == "undefined") return misaligned(), true;
  if (sanitizer == "thread") return race(), true;
  return false;
}

}  // namespace fusedstep::test

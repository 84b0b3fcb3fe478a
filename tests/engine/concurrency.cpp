// Tests of the thread pool. Several threads start parallel regions. At that time, the pool may not exist yet, or be
// busy, asleep or of another size. Other threads change the instruction set and the limits at the same time. A process
// that uses the pool forks. Under ThreadSanitizer, each race is an error.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdio>
#include <map>
#include <thread>

#include "cases.h"
#include "machine/level.h"
#include "machine/parallel.h"
#include "machine/stalls.h"

namespace fusedstep::test {
namespace {

/// Two cases of each kind that are large enough for several threads.
Cases some_large(const Cases& cases) {
  Cases some;
  std::map<std::string, int> taken;
  for (const Case& c : cases)
    if (c.parallel && taken[c.name.substr(0, c.name.find('/'))]++ < 2) some.push_back(c);
  return some;
}

/// Every index is visited exactly once, for all ranges and numbers of threads.
bool ranges_are_covered() {
  bool covered = true;
  for (const std::int64_t n : {0, 1, 2, 3, 7, 8, 1000})
    for (const int threads : {1, 2, 3, 8, 2000}) {
      std::vector<int> visits(std::size_t(n), 0);
      parallel_for(n, threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++visits[std::size_t(i)];
      });
      for (const int v : visits) covered = covered && v == 1;
    }
  if (!covered) std::puts("a region has not visited an index, or has visited an index twice");
  return covered;
}

/// After a stall, OpenMP is not used for a time that is a hundred times as long as the wait of the calling thread.
bool stalls_are_answered() {
  using namespace std::chrono_literals;
  const Stalls::Clock::time_point now = Stalls::Clock::now();
  Stalls stalls;
  bool right = !stalls.go_on(now);
  stalls.waited(20ms, 20ms, now), stalls.waited(10us, 400us, now);  // no stalls
  right = right && !stalls.go_on(now);
  stalls.waited(50us, 8ms, now);
  right = right && stalls.go_on(now + 799ms) && !stalls.go_on(now + 801ms);
  if (!right) std::puts("the pause of OpenMP after a stall is wrong");
  return right;
}

/// A region within a region uses one thread and visits every index.
bool nests() {
  std::atomic<int> sum{0};
  parallel_for(8, 4, [&](std::int64_t begin, std::int64_t end) {
    parallel_for(end - begin, 4, [&](std::int64_t first, std::int64_t last) { sum += int(last - first); });
  });
  if (sum != 8) std::puts("a region within a region is wrong");
  return sum == 8;
}

bool same_bits_from(int callers, const Cases& cases, const std::vector<std::uint64_t>& expected) {
  std::atomic<int> wrong{0};
  std::barrier start(callers);
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller)
    threads.emplace_back([&, caller] {
      start.arrive_and_wait();
      for (std::size_t i = 0; i < cases.size(); ++i) {
        const std::size_t k = (i + std::size_t(caller)) % cases.size();
        wrong += cases[k].run(2 + caller) != expected[k];
        if (caller == 0) set_isa(available_isas()[i % available_isas().size()]);
        if (caller == 1) set_thread_limit(int(i % 3)), set_machine_limit(int(1 + i % 4));
        if (i % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the pool's threads fall asleep
      }
    });
  for (std::thread& t : threads) t.join();
  if (wrong > 0) std::printf("%d cases differ under %d threads\n", wrong.load(), callers);
  return wrong == 0;
}

/// A forked process does not have the pool's threads. It uses one thread.
bool forks(const Case& c, std::uint64_t expected) {
  const pid_t child = fork();
  if (child == 0) _exit(c.run(4) == expected && available_threads() == 1 ? 0 : 1);
  int status = -1;
  const bool same = child > 0 && waitpid(child, &status, 0) == child && status == 0;
  if (!same) std::puts("a forked child is wrong");
  return same;
}

}  // namespace

bool concurrency_works(const Cases& all) {
  const Cases cases = some_large(all);
  std::vector<std::uint64_t> expected;
  for (const Case& c : cases) expected.push_back(c.run(1));  // one thread, so the pool does not exist yet
  bool works = true;
  for (const int callers : {4, 1, 3}) works = same_bits_from(callers, cases, expected) && works;
  works = ranges_are_covered() && nests() && stalls_are_answered() && works;
  works = forks(cases[0], expected[0]) && works;
  std::printf("%zu cases on the thread pool, from several threads: %s\n", cases.size(), works ? "right" : "WRONG");
  return works;
}

}  // namespace fusedstep::test

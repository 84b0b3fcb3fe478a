#include "machine/level.h"

#include <atomic>

namespace fusedstep {
namespace {

struct Level {
  const char* name;
  bool (*available)();
};

// __builtin_cpu_supports returns true only if the operating system also saves the wide registers.
#if defined(FUSEDSTEP_X86_LEVELS)
bool has_v2() {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt");
}
bool has_v3() {
  return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
constexpr Level levels[] = {{"v4", has_v4}, {"v3", has_v3}, {"v2", has_v2}};  // in the order of FUSEDSTEP_TABLES
#else
constexpr Level levels[] = {{"generic", [] { return true; }}};
#endif

constexpr int undecided = -1;
std::atomic<int> chosen{undecided};

int best() {
  for (const Level& l : levels)
    if (l.available()) return int(&l - levels);
  return 0;  // the CPU supports none of the instruction sets; importing the module then fails
}

}  // namespace

int level() {
  const int known = chosen.load(std::memory_order_relaxed);
  if (known != undecided) return known;
  return chosen = best();
}

const char* isa() { return levels[level()].name; }

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Level& l : levels)
    if (l.available()) names.emplace_back(l.name);
  return names;
}

std::vector<std::string> compiled_isas() {
  std::vector<std::string> names;
  for (const Level& l : levels) names.emplace_back(l.name);
  return names;
}

bool set_isa(const std::string& name) {
  for (const Level& l : levels) {
    if (l.name != name || !l.available()) continue;
    chosen = int(&l - levels);
    return true;
  }
  return false;
}

}  // namespace fusedstep

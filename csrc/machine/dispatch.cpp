#include "machine/dispatch.h"

#include <atomic>

namespace fusedstep {

#if defined(FUSEDSTEP_X86_LEVELS)
extern const KernelTable kernels_v2, kernels_v3, kernels_v4;
#else
extern const KernelTable kernels_generic;
#endif

namespace {

struct Level {
  const KernelTable* table;
  bool (*available)();
};

// __builtin_cpu_supports asks the operating system too: a CPU whose wide registers are not saved lacks them.
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
const Level levels[] = {{&kernels_v4, has_v4}, {&kernels_v3, has_v3}, {&kernels_v2, has_v2}};
#else
const Level levels[] = {{&kernels_generic, [] { return true; }}};
#endif

std::atomic<const KernelTable*> chosen{nullptr};

}  // namespace

const KernelTable& kernels() {
  const KernelTable* table = chosen.load(std::memory_order_relaxed);
  if (table) return *table;
  for (const Level& level : levels)
    if (!table && level.available()) table = level.table;
  chosen = table;
  return *table;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Level& level : levels)
    if (level.available()) names.emplace_back(level.table->isa);
  return names;
}

std::vector<std::string> compiled_isas() {
  std::vector<std::string> names;
  for (const Level& level : levels) names.emplace_back(level.table->isa);
  return names;
}

Choice set_isa(const std::string& name) {
  for (const Level& level : levels)
    if (level.table->isa == name) {
      if (!level.available()) return Choice::lacking;
      chosen = level.table;
      return Choice::done;
    }
  return Choice::unknown;
}

}  // namespace fusedstep

// The instruction set whose kernels run. Every feature compiles its kernels once per level.
#pragma once

#include <string>
#include <vector>

namespace fusedstep {

/// The index of the level in use; 0 is the best level that is compiled. It is the best level that the CPU has, unless
/// the user chose another.
int level();

/// The names of the compiled levels, best first; the names of those among them that this CPU has.
std::vector<std::string> compiled_isas();
std::vector<std::string> available_isas();

/// The name of the level in use.
const char* isa();

/// Chooses a level by name; returns false and changes nothing if this CPU does not have it. The change takes effect at
/// once, because tables are looked up at each use.
bool set_isa(const std::string& name);

/// FUSEDSTEP_TABLES(Type, name) declares a feature's tables, one per level, and name(), which returns that of the level
/// in use.
#if defined(FUSEDSTEP_X86_LEVELS)
#define FUSEDSTEP_TABLES(Type, name)                                                \
  extern const Type name##_v4, name##_v3, name##_v2;                                \
  inline const Type& name() {                                                       \
    static constexpr const Type* by_level[] = {&name##_v4, &name##_v3, &name##_v2}; \
    return *by_level[level()];                                                      \
  }
#else
#define FUSEDSTEP_TABLES(Type, name) \
  extern const Type name##_generic;  \
  inline const Type& name() { return name##_generic; }
#endif

#define FUSEDSTEP_JOIN_(a, b) a##_##b
#define FUSEDSTEP_JOIN(a, b) FUSEDSTEP_JOIN_(a, b)

/// The table of the level that is being compiled, which FUSEDSTEP_LEVEL names.
#define FUSEDSTEP_TABLE(name) FUSEDSTEP_JOIN(name, FUSEDSTEP_LEVEL)

}  // namespace fusedstep

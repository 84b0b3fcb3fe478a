// The level is the instruction set whose kernels are used. The file kernels.cpp of each folder is compiled once per
// level.
#pragma once

#include <string>
#include <vector>

namespace fusedstep {

/// The index of the level in use, among the compiled levels. Index 0 is the best compiled level. If the user has not
/// chosen a level, the best level that the CPU has is used.
int level();

/// The names of the compiled levels, and of those compiled levels that this CPU has. The best level is the first.
std::vector<std::string> compiled_isas();
std::vector<std::string> available_isas();

/// The name of the level in use.
const char* isa();

/// Chooses a level by name. Returns false and changes nothing if the level is not compiled or if this CPU does not have
/// it. The change takes effect at once, because the table of kernels is looked up at each use.
bool set_isa(const std::string& name);

/// FUSEDSTEP_TABLES(Type, name) declares tables of pointers to kernels, one table per level. It also declares name(),
/// which returns the table of the level in use.
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

/// The name of the table for the level that is being compiled. FUSEDSTEP_LEVEL is that level.
#define FUSEDSTEP_TABLE(name) FUSEDSTEP_JOIN(name, FUSEDSTEP_LEVEL)

}  // namespace fusedstep

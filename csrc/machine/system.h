// Information from the operating system: cache sizes, and functions of loaded libraries.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <string>

namespace fusedstep {

/// Bytes of the last-level cache that one core can use; 32 MiB if the system does not say.
std::int64_t last_level_cache();

/// Looks up a function of a library at run time. Returns false, and sets null, if the library does not have it.
template <class F>
bool find(void* library, const std::string& name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(library, name.c_str()));
  return out != nullptr;
}

}  // namespace fusedstep

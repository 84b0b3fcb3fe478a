// Information from the operating system: sizes of caches, and functions of loaded libraries.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <string>

namespace fusedstep {

/// Bytes of the last-level cache that one core can use; 32 MiB where the system does not say.
std::int64_t last_level_cache();

/// An entry point of a library, found at run time: no link-time need of it. False, and null, where it has none.
template <class F>
bool find(void* library, const std::string& name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(library, name.c_str()));
  return out != nullptr;
}

}  // namespace fusedstep

// The operating system: sizes of caches, huge pages, and functions of loaded libraries.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace fusedstep {

/// Bytes of the last-level cache that one core can use; 32 MiB where the system does not say.
std::int64_t last_level_cache();

/// Asks for huge pages for the pages that lie in [data, data + bytes), where the system has them: memory that is
/// written for the first time costs a fault per page.
void ask_for_huge_pages(void* data, std::size_t bytes) noexcept;

/// An entry point of a library, found at run time: no link-time need of it. False, and null, where it has none.
template <class F>
bool find(void* library, const std::string& name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(library, name.c_str()));
  return out != nullptr;
}

}  // namespace fusedstep

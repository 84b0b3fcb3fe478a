// Information from the operating system: cache sizes, huge pages, and functions of loaded libraries.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace fusedstep {

/// Bytes of the last-level cache that one core can use; 32 MiB if the system does not report it.
std::int64_t last_level_cache();

/// Bytes of the second-level cache of one core; 1 MiB if the system does not report it.
std::int64_t second_level_cache();

/// Asks the system for huge pages in [data, data + bytes). The first write to each page of new memory is a page fault.
/// With huge pages there are fewer faults.
void ask_for_huge_pages(void* data, std::size_t bytes) noexcept;

/// Looks up a function of a library at run time. Returns false, and sets null, if the library does not have it.
template <class F>
bool find(void* library, const std::string& name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(library, name.c_str()));
  return out != nullptr;
}

}  // namespace fusedstep

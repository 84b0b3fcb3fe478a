// Information from the operating system: cache sizes, huge pages, and functions of loaded libraries.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace fusedstep {

/// The size in bytes of the last-level cache that one core can use. It is 32 MiB if the system does not report the
/// size.
std::int64_t last_level_cache();

/// The size in bytes of the second-level cache of one core. It is 1 MiB if the system does not report the size.
std::int64_t second_level_cache();

/// Asks the system to use huge pages for [data, data + bytes). The first write to each page of new memory causes a page
/// fault, and huge pages cause fewer page faults.
void ask_for_huge_pages(void* data, std::size_t bytes) noexcept;

/// Looks up a function of a library at run time. If the library does not have the function, sets `out` to null and
/// returns false.
template <class F>
bool find(void* library, const std::string& name, F*& out) {
  out = reinterpret_cast<F*>(dlsym(library, name.c_str()));
  return out != nullptr;
}

}  // namespace fusedstep

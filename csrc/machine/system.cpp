#include "machine/system.h"

#include <fstream>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace fusedstep {
namespace {

// sysconf(_SC_LEVEL3_CACHE_SIZE) is not used: on processors with several dies, it returns the sum of the sizes of
// several caches, but one core can use only one of these caches.
std::int64_t read_size(const char* index, std::int64_t otherwise) {
  std::ifstream file(std::string("/sys/devices/system/cpu/cpu0/cache/") + index + "/size");  // for example "32768K"
  std::int64_t size = 0;
  char unit = 0;
  if (!(file >> size >> unit) || size <= 0) return otherwise;
  return unit == 'M' ? size << 20 : unit == 'K' ? size << 10 : size;
}

}  // namespace

std::int64_t last_level_cache() {
  static const std::int64_t size = read_size("index3", 32 << 20);
  return size;
}

std::int64_t second_level_cache() {
  static const std::int64_t size = read_size("index2", 1 << 20);
  return size;
}

void ask_for_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(MADV_HUGEPAGE)
  const auto page = std::uintptr_t(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t first = (begin + page - 1) / page * page, end = (begin + bytes) / page * page;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);  // errors are ignored
#endif
}

}  // namespace fusedstep

// When results are better stored past the cache.
#pragma once

#include <cstdint>

namespace fusedstep {

/// Bytes of the last-level cache that one core sees; 32 MiB where the system does not say.
std::int64_t last_level_cache();

}  // namespace fusedstep

// Decides when the thread pool is used for a while instead of OpenMP.
#pragma once

#include <atomic>
#include <chrono>

namespace fusedstep {

/// An OpenMP region ends when its last thread is done. A thread of another library, for example of OpenBLAS, may spin
/// on the core that the last thread needs. The region then takes one time slice of the operating system longer, which
/// is hundreds of times as long as a small step. After such a wait, OpenMP is not used for a time that is a hundred
/// times as long as the wait. So waiting takes at most 1% of the time.
class Stalls {
 public:
  using Clock = std::chrono::steady_clock;

  /// `work` is how long the calling thread of a region worked. `wait` is how long it then waited for the other threads.
  void waited(Clock::duration work, Clock::duration wait, Clock::time_point now) {
    if (wait > work + tolerated) until_.store((now + 100 * wait).time_since_epoch().count(), std::memory_order_relaxed);
  }

  /// True if the thread pool must be used at this time instead of OpenMP.
  bool go_on(Clock::time_point now) const {
    return now.time_since_epoch().count() < until_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::chrono::microseconds tolerated{500};

  std::atomic<Clock::rep> until_{Clock::time_point::min().time_since_epoch().count()};
};

}  // namespace fusedstep

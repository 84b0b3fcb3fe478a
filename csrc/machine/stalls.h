// Decides when to use the thread pool instead of OpenMP for a while.
#pragma once

#include <atomic>
#include <chrono>

namespace fusedstep {

/// An OpenMP region ends when its last thread is done. If a worker of another library (OpenBLAS's, say) spins on the
/// core that a thread needs, the region lasts one time slice of the operating system longer, which is hundreds of times
/// a small step. After such a wait OpenMP is not used for a hundred times as long. So waiting costs at most a hundredth
/// of the time.
class Stalls {
 public:
  using Clock = std::chrono::steady_clock;

  /// Records one region: how long its caller worked, and how long it then waited for the other threads.
  void waited(Clock::duration work, Clock::duration wait, Clock::time_point now) {
    if (wait > work + tolerated) until_.store((now + 100 * wait).time_since_epoch().count(), std::memory_order_relaxed);
  }

  bool go_on(Clock::time_point now) const {
    return now.time_since_epoch().count() < until_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::chrono::microseconds tolerated{500};

  std::atomic<Clock::rep> until_{Clock::time_point::min().time_since_epoch().count()};
};

}  // namespace fusedstep

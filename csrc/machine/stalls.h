// When to stop using OpenMP's threads for a while.
#pragma once

#include <atomic>
#include <chrono>

namespace fusedstep {

/// An OpenMP region ends when its last thread does. One that must wait for a core, because a worker of another library
/// (OpenBLAS's, say) spins there, costs a time slice of the system, hundreds of times a small step. After such a wait
/// OpenMP is not used for a hundred times as long, so that waiting costs a hundredth of the time at most.
class Stalls {
 public:
  using Clock = std::chrono::steady_clock;

  /// A region's caller worked for so long, and waited for so long until the others were done.
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

#pragma once

#include <Python.h>
#include <unistd.h>

namespace fusedstep::bind {

/// Releases the GIL while this object exists. Before Python 3.14, a daemon thread that asks for the GIL while the
/// interpreter ends is unwound by force, and its destructors leave broken state behind. Such a thread blocks here until
/// the process ends, as it does from 3.14 on.
class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

  ~WithoutGil() {
    try {
      PyEval_RestoreThread(thread_);
    } catch (...) {
      for (;;) ::pause();
    }
  }

 private:
  PyThreadState* const thread_;
};

}  // namespace fusedstep::bind

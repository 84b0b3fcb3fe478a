#pragma once

#include <Python.h>
#include <unistd.h>

namespace fusedstep::bind {

/// No GIL while this lives. Before Python 3.14, a daemon thread that asks for it while the interpreter ends is unwound
/// by force, through destructors that must not be left so: it stays here until the process is gone, as in 3.14.
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

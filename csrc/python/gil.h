#pragma once

#include <Python.h>
#include <unistd.h>

namespace fusedstep::bind {

/// Releases the GIL while this object exists. A daemon thread may ask for the GIL while the interpreter ends. Before
/// Python 3.14, Python then ends the thread by unwinding its stack, which leaves the objects of the core in a broken
/// state. This class blocks such a thread until the process ends. Python 3.14 and later block it in the same way.
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

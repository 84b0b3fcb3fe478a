#include <pybind11/stl.h>

#include <algorithm>

#include "machine/level.h"
#include "machine/parallel.h"
#include "machine/system.h"
#include "python/bindings.h"
#include "python/gate.h"
#include "python/gil.h"
#include "step/kernel.h"

namespace fusedstep::bind {
namespace {

std::string join(const std::vector<std::string>& names) {
  std::string s;
  for (const std::string& n : names) s += (s.empty() ? "\"" : ", \"") + n + "\"";
  return s;
}

void choose_isa(const std::string& name) {
  if (set_isa(name)) return;
  const std::vector<std::string> compiled = compiled_isas();
  const bool known = std::find(compiled.begin(), compiled.end(), name) != compiled.end();
  const std::string need =
      known ? "an instruction set of this CPU (" + join(available_isas()) + ")" : "one of " + join(compiled);
  throw py::value_error("set_isa: name must be " + need + "; got \"" + name + "\"");
}

void choose_backend(const std::string& name) {
  if (!use_backend(name.c_str()))
    throw py::value_error(
        "set_backend: name must be \"threads\", or \"openmp\" if libgomp.so.1 can be loaded; "
        "got \"" +
        name + "\"");
}

py::dict rules() {
  py::dict all;
  const StepKernels& table = step_kernels();
  for (int k = 0; k < table.rule_count; ++k) {
    const RuleInfo& info = table.infos[k];
    py::list variants, hyper, states, scalars;
    for (int i = 0; i < info.variant_bits; ++i) variants.append(info.variants[i]);
    for (int i = 0; i < info.hyper_count; ++i) hyper.append(info.hyper[i]);
    for (int i = 0; i < info.state_count; ++i)
      states.append(py::make_tuple(info.states[i].name, info.states[i].needs, info.states[i].positive));
    for (int i = 0; i < info.scalar_count; ++i)
      scalars.append(py::make_tuple(info.scalars[i].name, info.scalars[i].initial));
    all[info.name] = py::make_tuple(py::tuple(variants), py::tuple(hyper), states, scalars);
  }
  return all;
}

void roofline(const std::vector<py::array>& read_write, const py::array& read, int threads) {
  const std::string call = "roofline", none;
  std::vector<void*> written;
  const py::array g = require_float_array(read, {call, "read", -1, none});
  for (std::size_t k = 0; k < read_write.size(); ++k) {
    const Where where{call, "read_write", std::ptrdiff_t(k), none};
    py::array a = require_parameter(read_write[k], where);
    if (a.size() != g.size() || dtype_of(a) != dtype_of(g))
      refuse_value(where, "an array with as many elements as `read`, and with its dtype", describe(a));
    written.push_back(a.mutable_data());
  }
  if (written.empty() || written.size() > 5)
    throw py::value_error("roofline: read_write must have 1 to 5 arrays; got " + std::to_string(written.size()));
  const RooflineFn fn = step_kernels().roofline[int(dtype_of(g))];
  const int available = available_threads(threads);
  const WithoutGil without_gil;
  parallel_for(g.size(), available, [&](std::int64_t begin, std::int64_t end) {
    fn(written.data(), int(written.size()), g.data(), begin, end - begin);
  });
}

}  // namespace

void bind_runtime(py::module_& m) {
  m.def("isa", isa, "Return the name of the instruction set whose kernels are in use.");
  m.def("set_isa", choose_isa, py::arg("name"));
  m.def("available_isas", available_isas,
        "Return the names of the instruction sets for which kernels are compiled and that this CPU has, best first.");
  m.def(
      "backend", [] { return std::string(backend_name()); }, "Return \"openmp\" or \"threads\".");
  m.def("set_backend", choose_backend, py::arg("name"));
  m.def("num_threads", [] {
    look_for_openmp();
    return available_threads();
  });
  m.def("set_num_threads", set_thread_limit, py::arg("n"));
  m.def("set_machine_limit", set_machine_limit, py::arg("n"));
  m.def("force_threads", force_threads, py::arg("n"),
        "Use exactly n threads and ignore all limits. With n = 0, the limits apply again.");
  m.def("rules", rules,
        "Return a dict that describes each update rule. The keys are the names of the rules. The values are (names of "
        "the variant bits, names of the hyperparameters, [(state, the variant bits for which it exists, whether it is "
        "never negative)], [(scalar, initial value)]).");
  m.def(
      "ask_for_huge_pages",
      [](std::uintptr_t address, std::size_t bytes) { ask_for_huge_pages(reinterpret_cast<void*>(address), bytes); },
      py::arg("address"), py::arg("bytes"),
      "Ask the system to use huge pages for this memory. Call this function before the memory is written for the first "
      "time. The system may ignore the request.");
  m.def("roofline", roofline, py::arg("read_write"), py::arg("read"), py::arg("num_threads") = 0,
        "Add `read` to every array of `read_write`. This moves as many bytes as an optimizer step whose gradient is "
        "`read` and whose parameter and states are `read_write`, without the step's other arithmetic.");
}

}  // namespace fusedstep::bind

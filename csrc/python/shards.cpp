#include "python/shards.h"

#include <algorithm>

namespace fusedstep::bind {
namespace {

py::object local_of(py::handle whole) {
  static PyObject* const name = PyUnicode_InternFromString("_local_tensor");
  PyObject* const local = PyObject_GetAttr(whole.ptr(), name);
  if (!local) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(local);
}

std::string placements_of(py::handle whole) {
  return py::str(py::tuple(whole.attr("placements")));  // their repr: "(Shard(dim=0),)"
}

bool is_partial(py::handle whole) {
  for (const py::handle placement : whole.attr("placements"))
    if (placement.attr("is_partial")().cast<bool>()) return true;
  return false;
}

}  // namespace

bool Shards::is_whole(py::handle object) const {
  return type_ && PyObject_TypeCheck(object.ptr(), reinterpret_cast<PyTypeObject*>(type_.ptr()));
}

py::object Shards::part(py::handle object) {
  if (!is_whole(object)) return py::reinterpret_borrow<py::object>(object);
  py::object local = local_of(object);
  pairs_[local.ptr()] = {py::reinterpret_borrow<py::object>(object), local};
  return local;
}

py::object Shards::part_of_gradient(const py::object& gradient, py::handle parameter, const Where& where) const {
  if (!is_whole(parameter)) return gradient;
  const std::string need = "a DTensor with the placements of its parameter, " + placements_of(parameter);
  if (!is_whole(gradient)) refuse_type(where, need, py::str(py::type::handle_of(gradient).attr("__name__")));
  if (is_partial(gradient))
    refuse_value(where, need,
                 "a partial DTensor, " + placements_of(gradient) + ": reduce it with DTensor.redistribute");
  if (!gradient.attr("placements").equal(parameter.attr("placements")))
    refuse_value(where, need, placements_of(gradient));
  if (!gradient.attr("device_mesh").equal(parameter.attr("device_mesh")))
    refuse_value(where, "on the device mesh of its parameter, " + std::string(py::str(parameter.attr("device_mesh"))),
                 py::str(gradient.attr("device_mesh")));
  return local_of(gradient);
}

bool Shards::unchanged() const {
  return std::all_of(pairs_.begin(), pairs_.end(),
                     [](const auto& entry) { return local_of(entry.second.whole).is(entry.second.part); });
}

void Shards::add_wholes(const py::list& parts) const {
  if (pairs_.empty()) return;
  const std::size_t count = parts.size();
  for (std::size_t k = 0; k < count; ++k)
    if (const auto found = pairs_.find(py::object(parts[k]).ptr()); found != pairs_.end())
      py::list(parts).append(found->second.whole);
}

int Shards::traverse(visitproc visit, void* arg) const {
  Py_VISIT(type_.ptr());
  for (const auto& [key, pair] : pairs_) {
    Py_VISIT(pair.whole.ptr());
    Py_VISIT(pair.part.ptr());
  }
  return 0;
}

}  // namespace fusedstep::bind

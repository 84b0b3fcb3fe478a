// ReLU with a bias, its gradient, and softmax with its loss.
#include "cases.h"
#include "memory.h"
#include "network/kernel.h"

namespace fusedstep::test {
namespace {

struct Shape {
  std::ptrdiff_t rows, width;
};

// The widths are smaller than, equal to, and larger than a vector, the lanes of a long row, and a tile.
constexpr Shape shapes[] = {{1, 1}, {3, 7}, {64, 10}, {5, 16}, {9, 31}, {4, 32}, {3, 333}, {2, 1024}, {1, 2051}};

std::uint64_t rectified(DType dtype, const Shape& s, Values values) {
  const NetworkKernels& network = network_kernels();
  const int type = int(dtype);
  const std::ptrdiff_t n = s.rows * s.width;
  Memory x(n, dtype, 1, values), bias(s.width, dtype, 2), y(n, dtype), dy(n, dtype, 3, values), dx(n, dtype);
  network.relu[type](x.data(), bias.data(), y.data(), s.rows, s.width);
  network.relu[type](x.data(), nullptr, x.data(), s.rows, s.width);
  network.relu_backward[type](dy.data(), y.data(), dx.data(), n);
  network.relu_backward[type](dy.data(), x.data(), dy.data(), n);
  Hash hash;
  for (const Memory* m : {&x, &y, &dx, &dy}) hash.add(*m);
  return hash.value();
}

std::uint64_t classified(DType dtype, const Shape& s, Values values) {
  Memory z(s.rows * s.width, dtype, 1, values), losses(s.rows, dtype), gradient(s.rows * s.width, dtype);
  std::vector<std::int64_t> labels;
  for (std::ptrdiff_t i = 0; i < s.rows; ++i)
    labels.push_back(std::int64_t(mix(std::uint64_t(i)) % std::uint64_t(s.width)));
  const SoftmaxLossFn fn = network_kernels().softmax_loss[int(dtype)];
  fn(z.data(), labels.data(), losses.data(), gradient.data(), s.rows, s.width);
  Hash hash;
  hash.add(losses), hash.add(gradient);
  return hash.value();
}

}  // namespace

void add_network(Cases& cases) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Shape& s : shapes)
      for (const Values values : {Values::both_signs, Values::special, Values::huge}) {
        const std::string of = std::string("/") + name_of(dtype) + "/" + std::to_string(s.rows) + "x" +
                               std::to_string(s.width) + "/" + std::to_string(int(values));
        cases.push_back({"relu" + of, false, [=](int) { return rectified(dtype, s, values); }});
        cases.push_back({"softmax_loss" + of, false, [=](int) { return classified(dtype, s, values); }});
      }
}

}  // namespace fusedstep::test

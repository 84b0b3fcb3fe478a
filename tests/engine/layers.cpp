// Batch normalisation, its gradient and its statistics. The shapes are chosen such that every path of the code runs.
#include "batchnorm/batchnorm.h"

#include "cases.h"
#include "memory.h"

namespace fusedstep::test {
namespace {

struct Setting {
  const char* name;
  bool training, relu, residual;
  Values values = Values::both_signs;
};

constexpr Setting settings[] = {{"training", true, false, false},
                                {"relu", true, true, false},
                                {"residual", true, false, true},
                                {"relu-residual", true, true, true},
                                {"frozen", false, true, true},
                                {"frozen-relu", false, true, false},
                                {"not-finite", true, true, true, Values::special}};

/// All arrays of a layer, forward and backward.
class Layer {
 public:
  Layer(const BatchNormShape& shape, DType dtype, const Setting& setting)
      : shape_(shape),
        dtype_(dtype),
        setting_(setting),
        n_(shape.outer * shape.channels * shape.inner),
        x_(n_, dtype, 1, setting.values),
        residual_(setting.residual ? n_ : 0, dtype, 2),
        y_(n_, dtype),
        gamma_(shape.channels, computed_in(dtype), 3),
        beta_(shape.channels, computed_in(dtype), 4),
        mean_(shape.channels, computed_in(dtype), 5),
        var_(shape.channels, computed_in(dtype), 6, Values::positive),
        open_(std::size_t(mask_words(shape))),
        coefficients_(shape, dtype) {}

  void forward(int threads, Hash& hash) {
    BatchNormForward f{};
    f.x = x_.data(), f.y = y_.data(), f.relu = setting_.relu, f.open = open_.data();
    if (setting_.residual) f.residual = residual_.data();
    BatchNormPass(shape_, dtype_, threads)
        .forward(f, {gamma_.data(), beta_.data(), mean_.data(), var_.data()}, {setting_.training, 0.1, 1e-5},
                 coefficients_);
    for (const Memory* m : {&y_, &mean_, &var_}) hash.add(*m);
    hash.add(coefficients_.mean), hash.add(coefficients_.invstd);
  }

  void backward(int threads, Hash& hash) {
    const bool saved = setting_.relu && setting_.residual;
    Memory dy(n_, dtype_, 7, setting_.values), dx(n_, dtype_), dz(saved ? n_ : 0, dtype_);
    Memory dgamma(shape_.channels, computed_in(dtype_)), dbeta(shape_.channels, computed_in(dtype_));
    BatchNormBackward b{};
    b.dy = dy.data(), b.x = x_.data(), b.dx = dx.data(), b.open = open_.data(), b.frozen = !setting_.training;
    b.mask = saved ? BatchNormMask::saved : setting_.relu ? BatchNormMask::recomputed : BatchNormMask::none;
    if (saved) b.dz = dz.data();
    BatchNormPass(shape_, dtype_, threads).backward(b, coefficients_, dgamma.data(), dbeta.data());
    for (const Memory* m : {&dx, &dz, &dgamma, &dbeta}) hash.add(*m);
  }

  void moments(int threads, Hash& hash) {
    BatchMoments sum;
    sum.mean.resize(std::size_t(shape_.channels)), sum.m2.resize(std::size_t(shape_.channels));
    BatchMoments other = sum;
    BatchNormPass(shape_, dtype_, threads).moments(x_.data(), sum);
    BatchNormPass(shape_, dtype_, threads).moments(y_.data(), other);
    merge(sum, other);
    hash.add(std::uint64_t(sum.count)), hash.add(sum.mean), hash.add(sum.m2);
  }

 private:
  BatchNormShape shape_;
  DType dtype_;
  Setting setting_;
  std::ptrdiff_t n_;
  Memory x_, residual_, y_, gamma_, beta_, mean_, var_;
  std::vector<std::uint32_t> open_;
  BatchNormCoefficients coefficients_;
};

// The planes are shorter than, as long as, and longer than a block of 1,024 values. The rows of channels are shorter
// and longer than a vector, than a slice, and than the length from which rows are cut.
constexpr BatchNormShape small[] = {{2, 1, 2},   {3, 5, 7},    {1, 3, 1031}, {37, 4, 49},  {2, 2, 2053}, {33, 1, 1},
                                    {130, 3, 1}, {35, 16, 1},  {100, 17, 1}, {50, 63, 1},  {70, 100, 1}, {2, 2080, 1},
                                    {2, 7, 1},   {1100, 2, 1}, {5, 64, 8},   {1, 40, 100}, {1025, 1, 1}};
constexpr BatchNormShape large[] = {{4, 6, 4000}, {64, 20, 49}, {128, 20, 49}, {2000, 48, 1}, {90, 2080, 1}};
constexpr BatchNormShape streaming[] = {{3, 16, 65600}, {1600, 2080, 1}};  // 12 MiB of float32 and more

void add(Cases& cases, const BatchNormShape& shape, DType dtype, const Setting& setting, bool parallel) {
  const std::string name = std::string("batch_norm/") + std::to_string(shape.outer) + "x" +
                           std::to_string(shape.channels) + "x" + std::to_string(shape.inner) + "/" + name_of(dtype) +
                           "/" + setting.name;
  cases.push_back({name, parallel, [=](int threads) {
                     Hash hash;
                     Layer layer(shape, dtype, setting);
                     layer.forward(threads, hash), layer.backward(threads, hash), layer.moments(threads, hash);
                     return hash.value();
                   }});
}

}  // namespace

void add_batch_norm(Cases& cases) {
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
    for (const Setting& setting : settings) {
      // 16-bit elements use the float32 kernels, so fewer settings are enough
      if (is_half(dtype) && !setting.relu) continue;
      for (const BatchNormShape& shape : small) add(cases, shape, dtype, setting, false);
      for (const BatchNormShape& shape : large) add(cases, shape, dtype, setting, true);
    }
  for (const BatchNormShape& shape : streaming) add(cases, shape, DType::f32, settings[3], true);
}

}  // namespace fusedstep::test

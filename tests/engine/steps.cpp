// Steps of every update rule, in all variants and dtypes, with additional stages such as clipping and weight decay. The
// gradients have different layouts.
#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>

#include "cases.h"
#include "memory.h"
#include "step/kernel.h"
#include "step/plan.h"

namespace fusedstep::test {
namespace {

struct Setting {
  const char* name;
  Group group;
  StepOptions options;
  bool averages = false;
  Values values = Values::both_signs;
  bool contiguous = false;  // true: all gradients are contiguous
};

std::vector<Setting> settings() {
  const auto group = [](Decay decay, double penalty, bool maximize) {
    Group g;
    g.lr = 0.01, g.weight_decay = penalty, g.l1 = penalty / 4, g.decay = decay, g.maximize = maximize;
    return g;
  };
  const auto options = [](double grad_scale, double clip_norm, double clip_value, bool skip, bool zero) {
    return StepOptions{0.6, grad_scale, clip_norm, clip_value, skip, zero, nullptr};
  };
  const Group plain = group(Decay::l2, 0, false);
  return {{"plain", plain, options(1, -1, -1, false, false)},
          {"l2", group(Decay::l2, 0.1, true), options(8, -1, 0.1, false, true), true},
          {"decoupled", group(Decay::decoupled, 0.1, false), options(1, 0.5, -1, false, false), true},
          {"proximal", group(Decay::proximal, 0.1, false), options(2, 3, 0.3, true, true)},
          {"not-finite", plain, options(1, -1, -1, false, false), true, Values::special},
          {"skipped", plain, options(1, 1, -1, true, true), true, Values::special}};
}

double hyper_value(const char* name) {
  const auto starts = [name](const char* with) { return !std::strncmp(name, with, std::strlen(with)); };
  return starts("eps") ? 1e-8 : !std::strcmp(name, "beta2") ? 0.999 : starts("lr_decay") ? 1e-3 : 0.9;
}

/// The settings for which the engine has fused kernels, which decode, update and encode in one loop.
std::vector<Setting> fused_settings() {
  std::vector<Setting> chosen = settings();
  chosen = {chosen[0], chosen[2], chosen[4]};
  for (Setting& s : chosen) s.averages = false, s.contiguous = true;
  chosen[1].options.zero_gradients = true;
  return chosen;
}

/// One of five layouts of a gradient in its memory.
struct Layout {
  static constexpr std::ptrdiff_t spread = 3;
  static std::ptrdiff_t room(std::ptrdiff_t n, int kind) { return kind == 3 && n > 0 ? spread * (n - 1) + 1 : n; }

  Layout(const Memory& m, std::ptrdiff_t n, int kind) : first(static_cast<char*>(m.data())) {
    const std::ptrdiff_t item = m.item(), rows = n % 7 == 0 ? 7 : n % 3 == 0 ? 3 : 1, columns = n / rows;
    if (kind == 1) dims = {{rows, item}, {columns, rows * item}};             // transposed
    if (kind == 2) first += (n > 0 ? n - 1 : 0) * item, dims = {{n, -item}};  // backwards
    if (kind == 3) dims = {{n, spread * item}};
    if (kind == 4) dims = {{rows, 0}, {columns, item}};  // every row has the memory of the first row
  }
  Strided strided() const { return {first, dims.empty(), int(dims.size()), dims.data()}; }

  char* first;
  std::vector<Strided::Dim> dims;
};

/// The formats in which parameters and states are stored.
struct Width {
  const char* name = "";
  std::optional<DType> states;  // the dtype of the states; none: the dtype of the parameter
  bool keeps_bits = false, stochastic = false;
};

/// A plan and its memory.
class Model {
 public:
  Model(int rule, Group group, const Setting& setting, const std::vector<std::ptrdiff_t>& sizes,
        const std::vector<DType>& dtypes, const Width& width = {}) {
    group.stochastic_states = width.stochastic, group.stochastic_parameters = width.stochastic && !width.keeps_bits;
    const RuleInfo& info = step_kernels().infos[rule];
    std::vector<Tensor> tensors;
    for (std::size_t k = 0; k < sizes.size(); ++k) {
      Tensor t;
      t.size = sizes[k], t.dtype = dtypes[k % dtypes.size()], t.format = format_of(t.dtype);
      t.place.number = std::uint32_t(k);
      t.p.data = static_cast<char*>(keep(t.size, t.dtype, setting.values).data());
      for (int s = 0; s < info.state_count; ++s)
        if ((group.variant & info.states[s].needs) == info.states[s].needs)
          keep_state(t, s, info.states[s].positive, width.states.value_or(t.dtype));
      if (width.keeps_bits) keep_bits(t);
      if (setting.averages) t.ema = keep(t.size, computed_in(t.dtype), Values::both_signs).data();
      const int kind = setting.contiguous ? 0 : int(k % (setting.options.zero_gradients ? 4 : 5));
      t.gradient_dtype = t.dtype;
      t.gradient =
          layouts_.emplace_back(keep(Layout::room(t.size, kind), t.dtype, setting.values), t.size, kind).strided();
      t.lay_out();
      tensors.push_back(std::move(t));
    }
    for (int h = 0; h < info.hyper_count; ++h) group.hyper[h] = hyper_value(info.hyper[h]);
    plan_.emplace(rule, std::move(tensors), std::vector<Group>{group}, 0.9);
  }

  /// Takes three steps. Some tensors are not updated in some of the steps.
  std::uint64_t train(const StepOptions& options, int threads) {
    Hash hash;
    for (std::size_t step = 0; step < 3; ++step) {
      for (std::size_t k = 0; k < plan_->tensors.size(); ++k) plan_->tensors[k].active = (k + step) % 4 != 3;
      const StepInfo info = plan_->step(options, threads);
      hash.add(info.grad_norm.value_or(-1)), hash.add(info.clip_coef), hash.add(std::uint64_t(info.skipped));
    }
    for (const Memory& m : memory_) hash.add(m);
    return hash.value();
  }

  void keep_state(Tensor& t, int s, bool positive, DType dtype) {
    const bool scaled = dtype == DType::u8;
    t.state_formats[s] = !scaled ? format_of(dtype) : positive ? Format::u8_positive : Format::u8;
    t.states[s] = keep(t.size, dtype, Values::positive).data();
    if (scaled) t.scales[s] = keep(block_count(t.size), DType::f32, Values::positive).data();
  }
  void keep_bits(Tensor& t) {
    const bool low = t.dtype == DType::bf16;
    t.format = low ? Format::bf16_low : Format::f16_master;
    t.low = keep(t.size, low ? DType::i16 : DType::f32, Values::both_signs).data();
    if (low) t.sums = keep(block_count(t.size), DType::i32, Values::both_signs).data();
  }
  Memory& keep(std::ptrdiff_t count, DType dtype, Values values) {
    return memory_.emplace_back(count, dtype, memory_.size(), values);
  }

 private:
  std::vector<Memory> memory_;
  std::deque<Layout> layouts_;
  std::optional<Plan> plan_;
};

// Lengths that are just below, equal to and just above those of every vector, of blocks and of a chunk of 4,096
// elements.
const std::vector<std::ptrdiff_t> small = {1,  2,  3,  0,  5,  7,   8,   9,   15,  16,   17,  21,
                                           31, 33, 63, 64, 65, 127, 128, 129, 255, 1029, 385, 2048};
const std::vector<std::ptrdiff_t> blocks = {256, 1, 255, 257, 511, 600, 1041, 5000};
const std::vector<std::ptrdiff_t> large = {11, 70001, 4095, 4096, 4097, 50001, 30003};
const std::vector<std::ptrdiff_t> large_narrow = {11, 40001, 4097, 30003};

Group with_variant(Group g, unsigned variant) {
  g.variant = variant;
  return g;
}

const Width widths[] = {{"bf16-states", DType::bf16, false, true}, {"u8-states", DType::u8, false, true},
                        {"u8-states-nearest", DType::u8},          {"f32-states", DType::f32},
                        {"bits-kept", DType::f32, true},           {"bits-kept-u8-states", DType::u8, true, true}};
const Width fused_widths[] = {{"own-states", {}},
                              {"bf16-states", DType::bf16, false, true},
                              {"bf16-states-nearest", DType::bf16},
                              {"u8-states", DType::u8, false, true},
                              {"bits-kept", DType::f32, true},
                              {"bits-kept-bf16-states", DType::bf16, true, true},
                              {"bits-kept-u8-states", DType::u8, true, true}};

void add_widths(Cases& cases) {
  const StepKernels& table = step_kernels();
  for (int rule = 0; rule < table.rule_count; ++rule)
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const Width& w : widths)
        for (const Setting& s : settings())
          for (const bool parallel : {false, true}) {
            const std::string around = s.name;
            // Adam has fused kernels for some formats, so it has more cases
            const bool is_adam = table.infos[rule].name == std::string("adam");
            if (!is_adam && (around != "l2" || (w.name != std::string("bf16-states") && !w.keeps_bits))) continue;
            if ((parallel && around != "decoupled") || (w.keeps_bits && dtype == DType::f32)) continue;
            const unsigned all = (1u << table.infos[rule].variant_bits) - 1;
            const std::string name = std::string(table.infos[rule].name) + "/" + name_of(dtype) + "/" + w.name + "/" +
                                     s.name + (parallel ? "/large" : "");
            cases.push_back({name, parallel, [=](int threads) {
                               Model model(rule, with_variant(s.group, all), s, parallel ? large_narrow : small,
                                           {dtype}, w);
                               return model.train(s.options, threads);
                             }});
          }
}

/// Adds cases of Adam with several combinations of formats. Adam has fused kernels for some of these combinations.
void add_fused(Cases& cases) {
  const StepKernels& table = step_kernels();
  for (int rule = 0; rule < table.rule_count; ++rule)
    for (unsigned variant = 0; variant < 1u << table.infos[rule].variant_bits; ++variant)
      for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
        for (const Width& w : fused_widths)
          for (const Setting& s : fused_settings())
            for (const bool parallel : {false, true}) {
              if (table.infos[rule].name != std::string("adam")) continue;
              if ((parallel && s.name != std::string("decoupled")) || (w.keeps_bits && dtype == DType::f32)) continue;
              const std::string name = std::string(table.infos[rule].name) + "/" + std::to_string(variant) + "/" +
                                       name_of(dtype) + "/" + w.name + "/contiguous/" + s.name +
                                       (parallel ? "/large" : "");
              cases.push_back({name, parallel, [=](int threads) {
                                 Model model(rule, with_variant(s.group, variant), s, parallel ? large_narrow : blocks,
                                             {dtype}, w);
                                 return model.train(s.options, threads);
                               }});
            }
}

}  // namespace

void add_steps(Cases& cases) {
  const StepKernels& table = step_kernels();
  for (int rule = 0; rule < table.rule_count; ++rule)
    for (unsigned variant = 0; variant < 1u << table.infos[rule].variant_bits; ++variant)
      for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
        for (const Setting& s : settings())
          for (const bool parallel : {false, true}) {
            if (parallel && (variant > 0 || s.name != std::string("decoupled"))) continue;
            const std::string name = std::string(table.infos[rule].name) + "/" + std::to_string(variant) + "/" +
                                     name_of(dtype) + "/" + s.name + (parallel ? "/large" : "");
            cases.push_back({name, parallel, [=](int threads) {
                               Model model(rule, with_variant(s.group, variant), s, parallel ? large : small, {dtype});
                               return model.train(s.options, threads);
                             }});
          }
  add_widths(cases);
  add_fused(cases);
  // These plans have tensors of all dtypes. In some of them, the squares of the gradients overflow.
  for (Setting s : settings())
    for (const Values values : {s.values, Values::huge}) {
      const std::string name = std::string("all-dtypes/") + s.name + (values == Values::huge ? "/huge" : "");
      if (values == Values::huge) s.options.clip_norm = 1, s.options.clip_value = -1, s.values = values;
      cases.push_back({name, false, [=](int threads) {
                         Model model(0, s.group, s, small, {DType::f64, DType::bf16, DType::f32, DType::f16});
                         return model.train(s.options, threads);
                       }});
    }
}

}  // namespace fusedstep::test

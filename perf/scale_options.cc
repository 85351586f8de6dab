// Reading of seconds and names for scale_options.h.
#include "perf/scale_options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "perf/cpu_list.h"

namespace quire::perf {

namespace {

std::string parse_seconds(const std::string& text, double& seconds) {
  char* end = nullptr;
  seconds = std::strtod(text.c_str(), &end);
  const bool number =
      !text.empty() && *end == '\0' && text.find_first_not_of("0123456789.e-") == std::string::npos;
  if (number && seconds >= scale_options::min_seconds && seconds <= scale_options::max_seconds) return {};
  return fmt::format("--seconds {}: the length of a repetition is a number from {} to {}", text,
                     scale_options::min_seconds, scale_options::max_seconds);
}

template <class Enum, std::size_t n>
std::string parse_name(std::string_view option, const std::string& name, const std::string_view (&names)[n],
                       Enum& to) {
  const auto at = std::find(std::begin(names), std::end(names), name);
  if (at == std::end(names)) {
    std::string all;
    for (const std::string_view one : names) all += fmt::format("{}{}", all.empty() ? "" : ", ", one);
    return fmt::format("{} {}: no such choice; there is {}", option, name, all);
  }
  to = static_cast<Enum>(at - std::begin(names));
  return {};
}

std::string parse_model(unsigned cpus, unsigned processors, const scale_options& o) {
  if (cpus == 0 || !o.one_space() || processors > 1) return {};
  return fmt::format(
      "--model {}: with --share {} it needs the cost of a request to another cpu, and this process may use 1 "
      "processor only; allowed here: --share private",
      cpus, o.share_name());
}

}  // namespace

std::string to_options(const scale_arguments& a, unsigned processors, scale_options& o) {
  o.format = choose_format(a.format, a.settings);
  o.batch = a.batch;
  o.drain_every_us = a.drain_every_us;
  o.repeat = a.repeat;
  o.model_cpus = a.model_cpus;
  std::string wrong = o.format.error;
  if (wrong.empty()) wrong = parse_name("--op", a.op, scale_op_names, o.op);
  if (wrong.empty()) wrong = parse_name("--share", a.share, scale_share_names, o.share);
  if (wrong.empty()) wrong = parse_seconds(a.seconds, o.seconds);
  if (wrong.empty() && !a.cpus) o.cpus = doubling_to(processors);
  if (wrong.empty() && a.cpus) wrong = parse_cpu_list("--cpus", *a.cpus, processors, "; --model simulates more", o.cpus);
  if (wrong.empty()) wrong = parse_model(a.model_cpus, processors, o);
  return wrong;
}

}  // namespace quire::perf

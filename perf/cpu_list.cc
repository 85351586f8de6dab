// Reading of cpu_list.h.
#include "perf/cpu_list.h"

#include <algorithm>

#include <fmt/format.h>

#include "perf/numbers.h"

namespace quire::perf {

namespace {

// One part of the list: N or FIRST-LAST, all of them from 1 to `most`.
bool add_part(std::string_view part, unsigned most, std::vector<unsigned>& to) {
  const auto dash = part.find('-');
  const auto first = parse_number(part.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_number(part.substr(dash + 1));
  if (!first || !last || *first < 1 || *first > *last || *last > most) return false;
  for (std::uint64_t n = *first; n <= *last; ++n) to.push_back(static_cast<unsigned>(n));
  return true;
}

// Finds the value of a whole part, to tell "too many" from "no list at all".
bool beyond(std::string_view part, unsigned most) {
  const auto last = parse_number(part.substr(part.find('-') + 1));  // without a dash that is the whole part
  return last && *last > most;
}

}  // namespace

std::string parse_cpu_list(std::string_view option, const std::string& list, unsigned processors,
                           std::string_view beyond_note, std::vector<unsigned>& cpus) {
  std::string_view rest = list;
  while (true) {
    const std::string_view part = rest.substr(0, rest.find(','));
    if (!add_part(part, processors, cpus)) {
      if (beyond(part, processors)) {
        return fmt::format("{} {}: allowed: 1 to {}, the processors that this process may use{}", option,
                           list, processors, beyond_note);
      }
      return fmt::format("{} {}: '{}' is not a number N or a range FIRST-LAST from 1 to {}", option, list,
                         part, processors);
    }
    if (part.size() == rest.size()) break;
    rest.remove_prefix(part.size() + 1);
  }
  cpus.push_back(1);  // what speed-up is measured against
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return {};
}

std::vector<unsigned> doubling_to(unsigned last) {
  std::vector<unsigned> all;
  for (unsigned n = 1; n < last; n *= 2) all.push_back(n);
  all.push_back(last);
  return all;
}

}  // namespace quire::perf

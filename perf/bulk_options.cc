// Reading of sizes for bulk_options.h.
#include "perf/bulk_options.h"

#include <algorithm>

#include <fmt/format.h>

#include "perf/bulk_layout.h"
#include "perf/cpu_list.h"
#include "perf/numbers.h"

namespace quire::perf {

namespace {

constexpr std::uint64_t stretch_bytes = bulk_layout::stretch_pages << arch::page_shift;

std::string parse_guest(const std::string& text, bulk_options& o) {
  const arch::geometry shape = o.format.shape();
  const std::uint64_t room = std::min(shape.input_pages, (shape.output_pages - bulk_layout::offset) / 2);
  const std::uint64_t most = room / bulk_layout::stretch_pages * bulk_layout::stretch_pages;
  const auto bytes = parse_size(text);
  if (!bytes || *bytes == 0 || *bytes % stretch_bytes != 0 || *bytes >> arch::page_shift > most) {
    return fmt::format("--size {}: the guest has a size in steps of 1g from 1g to {}g", text,
                       most / bulk_layout::stretch_pages);
  }
  o.pages = *bytes >> arch::page_shift;
  return {};
}

std::string parse_small(const std::string& text, bulk_options& o) {
  const auto bytes = parse_size(text);
  if (!bytes || *bytes % arch::page_bytes != 0 || *bytes >> arch::page_shift > o.pages) {
    return fmt::format(
        "--small {}: the size that small pages map is a multiple of 4k from 0 to the guest's {}", text,
        size_text(o.pages << arch::page_shift));
  }
  o.small_pages = *bytes >> arch::page_shift;
  return {};
}

}  // namespace

std::string to_options(const bulk_arguments& a, unsigned processors, bulk_options& o) {
  o.format = choose_format(a.format, a.settings);
  if (o.format.error.empty()) o.format = choose_format(a.format, a.settings, o.format.choice->bulk_settings);
  o.touched = a.touched;
  o.repeats = a.repeats;
  std::string wrong = o.format.error;
  if (wrong.empty()) wrong = parse_guest(a.size, o);
  if (wrong.empty()) wrong = parse_small(a.small, o);
  if (wrong.empty() && !a.threads) o.threads = doubling_to(processors);
  if (wrong.empty() && a.threads) wrong = parse_cpu_list("--threads", *a.threads, processors, "", o.threads);
  return wrong;
}

}  // namespace quire::perf

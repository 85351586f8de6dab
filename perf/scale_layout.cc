// Fits the regions of scale_layout.h into the input and output size of a format.
#include "perf/scale_layout.h"

#include <fmt/format.h>

#include "runtime/machine.h"

namespace quire::perf {

std::string lay_out(const scale_options& o, unsigned cpus, scale_layout& made) {
  const arch::geometry shape = o.format.shape();
  made.share = o.share;
  made.cpus = cpus;
  made.batch = o.batch;
  made.unit = shape.slot_pages(0);
  made.table_entries = shape.entries(0);
  made.slices = shape.output_pages / made.unit / scale_layout::pages;
  const std::uint64_t room = shape.input_pages / made.unit;
  // Where the space has room, each region has a table of the next level for itself too.
  for (const unsigned level : {1u, 0u}) {
    const std::uint64_t table = shape.table_pages(level) / made.unit;
    made.region = (scale_layout::pages + table - 1) / table * table;
    if (made.region <= room / cpus) break;
  }
  const std::uint64_t needed = o.share == scale_share::disjoint      ? made.region * cpus
                               : o.share == scale_share::interleaved ? scale_layout::pages * cpus
                                                                     : scale_layout::pages;
  if (needed > room || made.slices < 2) {
    return fmt::format(
        "--cpus {}: {} cpus with {} pages of {} each do not fit into the {} pages of the guest or the {} of "
        "the host "
        "that --set leaves",
        cpus, cpus, scale_layout::pages, size_name(made.unit << arch::page_shift), room,
        shape.output_pages / made.unit);
  }
  if (made.spaces() > runtime::machine::max_spaces) {
    return fmt::format("--cpus {}: --share private takes a space for each cpu; allowed: 1 to {}", cpus,
                       runtime::machine::max_spaces);
  }
  return {};
}

}  // namespace quire::perf

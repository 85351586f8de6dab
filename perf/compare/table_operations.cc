// The list of table_contest.h.
#include "perf/compare/table_contest.h"

namespace quire::perf {

namespace {

bool everybody(const contestant& /*c*/) { return true; }

bool map_each(contestant& c, const working_set& w, page_list& /*frames*/) { return c.map_each(w.ordered); }
bool map_range(contestant& c, const working_set& w, page_list& /*frames*/) {
  return c.map_range(w.first(), w.pages());
}
bool map_shuffled(contestant& c, const working_set& w, page_list& /*frames*/) {
  return c.map_list(w.shuffled);
}
bool protect(contestant& c, const working_set& w, page_list& /*frames*/) {
  return c.protect_range(w.first(), w.pages());
}
bool unmap_pieces(contestant& c, const working_set& w, page_list& /*frames*/) {
  return c.unmap_pieces(w.pieces);
}
bool unmap_tables(contestant& c, const working_set& w, page_list& /*frames*/) {
  return c.unmap_tables(w.first(), w.pages());
}
bool unmap_each(contestant& c, const working_set& w, page_list& /*frames*/) {
  return c.unmap_each(w.ordered);
}
bool look_up(contestant& c, const working_set& w, page_list& frames) { return c.look_up(w.shuffled.pages, frames); }

}  // namespace

const std::vector<table_operation>& table_operations() {
  using result = table_operation::result;
  static const std::vector<table_operation> all = {
      {"map_single_seq", "maps pages in order, one a call", layout::dense, false, result::mapped, map_each,
       false, false, everybody},
      {"map_range", "maps one range in one call", layout::dense, false, result::mapped, map_range, false,
       false, everybody},
      {"map_random_1g", "maps the pages of a range in random order; the tables are there", layout::kept,
       false, result::mapped, map_shuffled, false, false, everybody, true},
      {"map_random_64g", "maps random pages of 64 GiB; all tables are new; Quire has cleared free frames in idle time", layout::sparse, false,
       result::mapped, map_shuffled, false, false, everybody, true},
      {"protect_range", "takes write access from one range in one call", layout::dense, true,
       result::read_only, protect, false, true, [](const contestant& c) { return c.can_protect(); }},
      {"unmap_range",
       "unmaps all but the last page of each table, one call a table, and reports what was removed",
       layout::kept, true, result::removed, unmap_pieces, true, true, everybody},
      {"unmap_tables", "unmaps whole tables in one call", layout::dense, true, result::removed, unmap_tables,
       false, false, [](const contestant& c) { return c.can_unmap_tables(); }},
      {"unmap_single_seq", "unmaps pages in order, one a call", layout::dense, true, result::removed,
       unmap_each, false, true, everybody},
      {"lookup_1g", "looks up the pages of a range in random order", layout::dense, true, result::looked_up,
       look_up, false, false, everybody},
      {"lookup_64g", "looks up random pages of 64 GiB", layout::sparse, true, result::looked_up, look_up,
       false, false, everybody},
  };
  return all;
}

}  // namespace quire::perf

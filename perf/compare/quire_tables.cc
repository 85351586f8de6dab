// The calls of quire_tables.h.
#include "perf/compare/quire_tables.h"

#include <algorithm>
#include <stdexcept>

#include <fmt/format.h>

#include "perf/compare/look_up_many.h"
#include "runtime/host/hosted.h"

namespace quire::perf {

using runtime::gfn;
using runtime::gfn_range;
using runtime::hfn;
using runtime::lazy_state;
using runtime::status;

namespace {

constexpr std::uint64_t table_base = std::uint64_t{1} << 32;  // physical address of table memory

bool done(status s) { return s == status::ok; }

bool is_stage2(const any_format& format) {
  return !std::holds_alternative<arch::ept>(format) && !std::holds_alternative<arch::dat>(format);
}

}  // namespace

std::size_t table_memory(std::uint64_t pages, std::uint64_t span) {
  // A leaf table per page at the worst, of 4 KiB or of 2 KiB for half as many pages; then one of each size
  // above, or one per GiB, and frames that pools ask for in advance.
  const std::uint64_t tables = std::min(pages, span / 256 + 2) + 1;
  return tables * 4096 + span / 512 / 512 * 4096 + (std::size_t{8} << 20);
}

quire_tables::quire_tables(const any_format& format, update_mode mode, bool reports, std::size_t memory)
    : mode_(mode),
      memory_(memory),
      frames_({memory_.data(), memory_.size()}, table_base),
      heap_(runtime::host::hosted_platform()),
      host_(heap_),
      stage2_(is_stage2(format)) {
  host_.context = this;
  host_.allocate = allocate;
  host_.release = release;
  host_.allocate_tables = allocate_tables;
  host_.tables_zeroed = true;  // see memory.h
  host_.table_offset = frames_.table_offset();
  host_.flush = flush;
  status made = machine_.start(host_, {});
  records_.machine = record_bytes_;
  runtime::space_options options;
  options.max_leaf_level = 0;
  if (reports) options.reports = {this, hear};
  const auto make = [&](const auto& f) { return machine_.create_space(0, f, options, space_); };
  if (made == status::ok) made = std::visit(make, format);
  records_.space = record_bytes_ - records_.machine;
  if (made == status::ok) outside_ = machine_.state(0, *space_);
  if (!outside_) throw std::runtime_error(fmt::format("cannot make a space: {}", status_text(made)));
  records_.state = record_bytes_ - records_.machine - records_.space;
  space_->note_run(0);  // from now on, flushes are needed
}

void* quire_tables::allocate(void* context, std::size_t bytes, std::size_t align) {
  auto& self = *static_cast<quire_tables*>(context);
  self.record_bytes_ += bytes;
  return self.heap_.allocate(self.heap_.context, bytes, align);
}

void quire_tables::release(void* context, void* memory, std::size_t bytes) {
  auto& self = *static_cast<quire_tables*>(context);
  self.record_bytes_ -= bytes;
  self.heap_.release(self.heap_.context, memory, bytes);
}

bool quire_tables::allocate_tables(void* context, std::size_t bytes, std::size_t align,
                                   std::uint64_t* physical) {
  return static_cast<quire_tables*>(context)->frames_.allocate(bytes, align, physical);
}

void quire_tables::flush(void* context, unsigned /*cpu*/, const runtime::flush_plan& plan) {
  auto& self = *static_cast<quire_tables*>(context);
  for (const arch::flush_command& c : plan.commands) {
    if (self.stage2_ && c.op <= static_cast<std::uint16_t>(arch::stage2_flush::isb)) {
      ++self.counts_.barriers;
    } else {
      ++self.counts_.commands;
    }
  }
}

void quire_tables::hear(void* context, unsigned /*cpu*/, std::span<const runtime::report> reports) {
  std::uint64_t& heard = static_cast<quire_tables*>(context)->counts_.reported;
  for (const runtime::report& r : reports) heard += r.range.pages;
}

template <class Update>
bool quire_tables::in_mode(Update update) {
  if (mode_ == update_mode::eager) return update(outside_);
  lazy_state* section = machine_.enter(0, *space_);
  const bool good = update(section);
  return done(machine_.leave(section)) && good;
}

template <class Update>
bool quire_tables::each_in_mode(std::span<const std::uint64_t> pages, Update update) {
  bool good = true;
  while (!pages.empty()) {
    const auto part = pages.first(std::min<std::size_t>(updates_, pages.size()));
    good &= in_mode([&](lazy_state* l) {
      bool all = true;
      for (const std::uint64_t p : part) all &= update(l, p);
      return all;
    });
    pages = pages.subspan(part.size());
  }
  return good;
}

std::uint64_t quire_tables::table_pages() const { return space_->shape.table_pages(0); }

bool quire_tables::map_range(std::uint64_t first, std::uint64_t pages) {
  return in_mode([&](lazy_state* l) {
    return done(machine_.map(l, {gfn{first}, pages}, hfn{first + frame_distance}, access, 0));
  });
}

bool quire_tables::map_each(std::span<const std::uint64_t> pages) {
  return each_in_mode(pages, [this](lazy_state* l, std::uint64_t p) {
    return done(machine_.map(l, {gfn{p}, 1}, hfn{p + frame_distance}, access, 0));
  });
}

bool quire_tables::map_list(const page_maps& maps) {
  if (!lists_) return map_each(maps.pages);
  const auto pages = numbers<const gfn>(std::span(maps.pages));
  const auto frames = numbers<const hfn>(std::span(maps.frames));
  bool good = true;
  for (std::size_t from = 0; from < pages.size(); from += updates_) {
    const std::size_t n = std::min<std::size_t>(updates_, pages.size() - from);
    good &= in_mode([&](lazy_state* l) {
      std::size_t mapped = 0;
      return done(machine_.map_many(l, pages.subspan(from, n), frames.subspan(from, n), access, mapped));
    });
  }
  return good;
}

void quire_tables::idle() {
  if (idles_) machine_.clear_frames(0, ~std::uint64_t{0});
}

bool quire_tables::protect_range(std::uint64_t first, std::uint64_t pages) {
  return in_mode([&](lazy_state* l) {
    return done(machine_.protect(l, {gfn{first}, pages}, runtime::perm::rx));
  });
}

bool quire_tables::protect_each(std::span<const std::uint64_t> pages) {
  return each_in_mode(pages, [this](lazy_state* l, std::uint64_t p) {
    return done(machine_.protect(l, {gfn{p}, 1}, runtime::perm::rx));
  });
}

bool quire_tables::unprotect_range(std::uint64_t first, std::uint64_t pages) {
  return in_mode([&](lazy_state* l) {
    return done(machine_.protect(l, {gfn{first}, pages}, access.access));
  });
}

bool quire_tables::unmap_pieces(std::span<const gfn_range> pieces) {
  return in_mode([&](lazy_state* l) {
    bool all = true;
    for (const gfn_range& r : pieces) all &= done(machine_.unmap(l, r));
    return all;
  });
}

bool quire_tables::unmap_each(std::span<const std::uint64_t> pages) {
  return each_in_mode(pages, [this](lazy_state* l, std::uint64_t p) {
    return done(machine_.unmap(l, {gfn{p}, 1}));
  });
}

bool quire_tables::unmap_tables(std::uint64_t first, std::uint64_t pages) {
  return in_mode([&](lazy_state* l) { return done(machine_.unmap(l, {gfn{first}, pages})); });
}

bool quire_tables::look_up(std::span<const std::uint64_t> pages, std::span<std::uint64_t> frames) {
  if (mode_ == update_mode::eager) return look_up_one_by_one(machine_, outside_, pages, frames);
  return in_mode([&](lazy_state* l) {
    bool all = true;
    for (std::uint64_t from = 0; from < pages.size(); from += lookup_batch) {
      const std::uint64_t n = std::min(lookup_batch, pages.size() - from);
      all &= look_up_many(machine_, l, pages.subspan(from, n), frames.subspan(from, n));
    }
    return all;
  });
}

bool quire_tables::clear() { return unmap_tables(0, first_page + sparse_pages); }

page_state quire_tables::read(std::uint64_t page) {
  runtime::mapping m;
  page_state s;
  if (!done(machine_.lookup(outside_, gfn{page}, m, s.mapped)) || !s.mapped) return {};
  s.frame = m.out.value;
  s.writable = includes(m.attr.access, runtime::perm::w);
  return s;
}

bool quire_tables::harvest_range(std::uint64_t first, std::uint64_t pages) {
  return in_mode([&](lazy_state* l) {
    return done(machine_.harvest_status(l, {gfn{first}, pages},
                                        runtime::harvest::accessed | runtime::harvest::dirty));
  });
}

void quire_tables::touch(std::uint64_t page) {
  runtime::walk_request q;
  q.page = gfn{page};
  q.need = runtime::perm::w;
  q.touch = true;
  space_->backend->walk(host_, *space_, q);
}

}  // namespace quire::perf

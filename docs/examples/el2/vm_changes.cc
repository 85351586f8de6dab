// Changes of the guest's memory from outside: other frames, other leaves, other access.
#include "console.h"
#include "vm.h"

namespace el2 {
namespace {

/// Copies a page and makes sure that instructions are fetched from the copy.
/// [armarm] "Coherency and completion of data and instruction cache maintenance instructions"
void copy_page(arch::hfn to, arch::hfn from) {
  auto* t = reinterpret_cast<u64*>(to.byte());
  const auto* f = reinterpret_cast<const u64*>(from.byte());
  for (unsigned i = 0; i < arch::page_bytes / sizeof(u64); ++i) t[i] = f[i];
  constexpr u64 least_line_bytes = 16;
  for (u64 line = to.byte(); line < (to + 1).byte(); line += least_line_bytes)
    asm volatile("dc cvau, %0" ::"r"(line) : "memory");
}

}  // namespace

// acq_rel: takes over from whoever claimed it before, and comes before the guard moves on.
bool vm::claim(arch::gfn g) {
  page* p = find(g);
  return p && !(p->word.fetch_or(page::busy, std::memory_order_acq_rel) & page::busy);
}
void vm::release(arch::gfn g) {
  find(g)->word.fetch_and(~page::busy, std::memory_order_release);  // release: for the next claim
}

// When it returns, no other cpu puts a frame behind claimed pages any more that it looked up before: what is
// resolved earlier is left out from the guard on, and the drain waits for commits in progress.
void vm::settle(cpu& self) {
  space_->bump_guard(1);
  must(machine_.drain(self.index, *space_));
}

bool vm::swap(cpu& self, arch::gfn a, arch::gfn b) {
  if (!claim(a)) return false;
  const bool both = claim(b);
  if (both) {
    settle(self);
    std::atomic<std::uint32_t>&at_a = find(a)->word, &at_b = find(b)->word;
    const std::uint32_t word_a = at_a.load(std::memory_order_relaxed);  // relaxed: claimed, so this cpu's own
    const std::uint32_t word_b = at_b.load(std::memory_order_relaxed);  // relaxed: likewise
    const updates u(self, *this);
    must(machine_.map(u, {a, 1}, page::frame(word_b), {arch::perm::rwx}, 0));
    must(machine_.map(u, {b, 1}, page::frame(word_a), {arch::perm::rwx}, 0));
    at_a.store(word_b, std::memory_order_relaxed);  // relaxed: still claimed
    at_b.store(word_a, std::memory_order_relaxed);  // relaxed: likewise
  }
  release(a);
  if (both) release(b);
  return both;
}

// Three steps: nobody can write to the pages; their content goes to other frames; these take their place. Two
// sections, so two flushes for all pages together.
unsigned vm::migrate(cpu& self, std::span<arch::gfn> pages) {
  unsigned claimed = 0;
  for (const arch::gfn g : pages)
    if (claim(g)) pages[claimed++] = g;
  pages = pages.first(claimed);
  settle(self);
  {
    const updates u(self, *this);
    for (const arch::gfn g : pages) must(machine_.protect(u, {g, 1}, arch::perm::rx));
  }
  {
    const updates u(self, *this);
    for (const arch::gfn g : pages) {
      std::atomic<std::uint32_t>& word = find(g)->word;
      const arch::hfn left = page::frame(word.load(std::memory_order_relaxed));  // relaxed: claimed
      const std::uint32_t taken = spares_.exchange(static_cast<std::uint32_t>(left.value));
      copy_page({taken}, left);
      must(machine_.map(u, {g, 1}, {taken}, {arch::perm::rwx}, 0));
      word.store(taken | page::busy, std::memory_order_relaxed);  // relaxed: still claimed
    }
    asm volatile("dsb ish\n ic ialluis\n dsb ish\n isb" ::: "memory");
  }
  for (const arch::gfn g : pages) release(g);
  return claimed;
}

bool vm::set_leaf_size(cpu& self, arch::gfn g, unsigned level, arch::perm access) {
  if (g.value % 512 != 0 || !in_ram(g) || level > 1) return false;
  for (u64 i = 0; i < 512; ++i) {
    // acquire: as in serve_missing()
    if (find(g + i)->word.load(std::memory_order_acquire) != g.value + i) return false;
  }
  const updates u(self, *this);
  must(machine_.map_exact(u, {g, 512}, {g.value}, {access}, level));
  return true;
}

void vm::unmap(cpu& self, arch::gfn_range r, u64 stride) {
  const updates u(self, *this);
  for (u64 i = 0; i < r.pages; i += stride) must(machine_.unmap(u, {r.first + i, 1}));
}

void vm::protect(cpu& self, arch::gfn g, arch::perm access, bool hold) {
  std::atomic<std::uint32_t>& word = find(g)->word;
  if (hold) {
    word.fetch_or(page::held, std::memory_order_acq_rel);  // acq_rel: before the access goes
  } else {
    word.fetch_and(~page::held, std::memory_order_acq_rel);  // acq_rel: whoever waits may go on
  }
  const updates u(self, *this);
  must(machine_.protect(u, {g, 1}, access));
}

unsigned vm::leaf_level(cpu& self, arch::gfn g) {
  runtime::mapping found;
  bool present = false;
  must(machine_.lookup(machine_.state(self.index, *space_), g, found, present));
  return present ? found.level : 255;
}

void vm::walk(cpu& self, arch::gfn_range r, runtime::machine::range_visitor visit, void* context) {
  const auto flags = lazy_ ? runtime::walk_flags::none : runtime::walk_flags::no_lazy;
  self.count.sections += lazy_;
  must(machine_.apply_to_range(machine_.state(self.index, *space_), r, flags, visit, context));
}

}  // namespace el2

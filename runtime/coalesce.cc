// Coalescing ranges; coalescing pages without vectors, and the choice of a variant: see coalesce.h.
#include "runtime/coalesce.h"

#include <algorithm>

#include "runtime/invariant.h"

namespace quire::runtime {

void sort_ranges(std::span<arch::gfn_range> r) {
  const auto before = [](const arch::gfn_range& a, const arch::gfn_range& b) { return a.first < b.first; };
  if (!std::is_sorted(r.begin(), r.end(), before)) std::sort(r.begin(), r.end(), before);
}

std::size_t coalesce(std::span<arch::gfn_range> r, std::uint64_t max_gap) {
  std::size_t m = 0;
  arch::gfn previous{};
  for (const arch::gfn_range next : r) {
    QUIRE_INVARIANT(previous <= next.first, "coalesce() takes ranges sorted by their first page");
    previous = next.first;
    if (next.pages == 0) continue;
    if (m > 0) {
      arch::gfn_range& last = r[m - 1];
      // Compared as distances, so that a range may end at the end of the address space.
      const std::uint64_t from_last = next.first - last.first;
      if (from_last <= last.pages || from_last - last.pages <= max_gap) {
        const std::uint64_t pages = from_last + next.pages;
        if (pages > last.pages) last.pages = pages;
        continue;
      }
    }
    r[m++] = next;
  }
  return m;
}

namespace {

std::size_t vector_coalesce_ranges(simd v, std::span<arch::gfn_range> r) {
  if constexpr (simd_for_x86) {
    if (v == simd::avx512) return detail::avx512_coalesce_ranges(r.data(), r.size());
    if (v == simd::avx2) return detail::avx2_coalesce_ranges(r.data(), r.size());
  }
  if constexpr (simd_for_arm64) {
    if (v == simd::neon) return detail::neon_coalesce_ranges(r.data(), r.size());
  }
  return 0;
}

}  // namespace

std::size_t coalesce_ranges(simd v, std::span<arch::gfn_range> r) {
  if (r.size() == 1 && r[0].pages > 0) return 1;
  const auto before = [](const arch::gfn_range& a, const arch::gfn_range& b) { return a.first < b.first; };
  if (!std::is_sorted(r.begin(), r.end(), before)) {
    if (const std::size_t m = vector_coalesce_ranges(v, r)) return m;
    std::sort(r.begin(), r.end(), before);
  }
  return coalesce(r, 0);
}

std::size_t coalesce_ranges(std::span<arch::gfn_range> r) { return coalesce_ranges(chosen_simd(), r); }

namespace {

// The specification of coalesce_pages().
std::size_t scalar_coalesce_pages(std::span<std::uint64_t> pages, arch::gfn_range* out) {
  if (!std::is_sorted(pages.begin(), pages.end())) std::sort(pages.begin(), pages.end());
  std::size_t m = 0;
  std::uint64_t last = 0;
  for (const std::uint64_t page : pages) {
    const bool joins = m > 0 && page - last <= 1;
    if (!joins) out[m++] = {arch::gfn{page}, 0};
    out[m - 1].pages = page - out[m - 1].first.value + 1;
    last = page;
  }
  return m;
}

[[gnu::always_inline]] inline std::size_t run(simd v, std::span<std::uint64_t> pages,
                                              std::span<arch::gfn_range> out, std::span<std::byte> scratch) {
  const std::size_t n = pages.size();
  QUIRE_INVARIANT(out.size() >= n && scratch.size() >= coalesce_scratch_bytes(n),
                  "coalesce_pages() is given room for all pages");
  if (n == 0) return 0;
  if constexpr (simd_for_x86) {
    if (v == simd::avx512) return detail::avx512_coalesce_pages(pages.data(), n, out.data(), scratch.data());
    if (v == simd::avx2) return detail::avx2_coalesce_pages(pages.data(), n, out.data(), scratch.data());
  }
  if constexpr (simd_for_arm64) {
    if (v == simd::neon) return detail::neon_coalesce_pages(pages.data(), n, out.data(), scratch.data());
  }
  return scalar_coalesce_pages(pages, out.data());
}

// Apart, so that the usual call has nothing to save.
[[gnu::noinline, gnu::cold]] std::size_t first_call(std::span<std::uint64_t> pages,
                                                    std::span<arch::gfn_range> out,
                                                    std::span<std::byte> scratch) {
  return run(chosen_simd(), pages, out, scratch);
}

}  // namespace

std::size_t coalesce_pages(simd v, std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                           std::span<std::byte> scratch) {
  return run(v, pages, out, scratch);
}

std::size_t coalesce_pages(std::span<std::uint64_t> pages, std::span<arch::gfn_range> out,
                           std::span<std::byte> scratch) {
  // relaxed: as in chosen_simd(), which this is.
  const std::uint8_t v = detail::simd_in_use.load(std::memory_order_relaxed);
  if (v == 0) return first_call(pages, out, scratch);
  return run(static_cast<simd>(v - 1), pages, out, scratch);
}

}  // namespace quire::runtime

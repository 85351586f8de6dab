// Methods with Google Highway, see coalesce_vqsort.h. Highway compiles this file once for each vector unit.
#include "perf/coalesce_vqsort.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "perf/coalesce_vqsort.cc"
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)  // what is left: the baseline, AVX2, AVX-512
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/contrib/sort/traits-inl.h>
#include <hwy/contrib/sort/vqsort-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quire::perf {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using arch::gfn;
using arch::gfn_range;

template <class T>
T* part(std::span<std::byte> scratch, std::size_t bytes) {
  return reinterpret_cast<T*>(scratch.data() + (bytes + 63) / 64 * 64);
}

template <class T>
void static_sort(T* keys, std::size_t n) {
  const hn::SortTag<T> d;
  const hn::detail::SharedTraits<hn::detail::TraitsLane<hn::detail::OrderAscending<T>>> st;
  hn::Sort(d, st, keys, n, static_cast<T*>(nullptr));
}

/// Cuts keys where starts(key - key before) says so; firsts and lasts have room for a vector more.
template <class T, class Starts>
std::size_t cut(const T* keys, std::size_t n, T* firsts, T* lasts, Starts starts) {
  const hn::ScalableTag<T> d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t found = 1, i = 1;
  firsts[0] = keys[0];
  for (; i + lanes <= n; i += lanes) {
    const auto now = hn::LoadU(d, keys + i), before = hn::LoadU(d, keys + i - 1);
    const auto m = starts(d, hn::Sub(now, before));
    hn::StoreU(hn::Compress(now, m), d, firsts + found);
    hn::StoreU(hn::Compress(before, m), d, lasts + found - 1);
    found += hn::CountTrue(d, m);
  }
  const hn::CappedTag<T, 1> one;
  for (; i < n; ++i) {
    const auto distance = hn::Set(one, static_cast<T>(keys[i] - keys[i - 1]));
    firsts[found] = keys[i];
    lasts[found - 1] = keys[i - 1];
    found += hn::CountTrue(one, starts(one, distance));
  }
  lasts[found - 1] = keys[n - 1];
  return found;
}

template <class T>
std::size_t scan(const T* keys, std::size_t n, std::uint64_t base, std::span<gfn_range> out,
                 std::span<std::byte> scratch, std::size_t used) {
  T* const firsts = part<T>(scratch, used);
  T* const lasts = part<T>(scratch, used + (n + 64) * sizeof(T));
  const auto apart = [](auto d, auto distance) { return hn::Gt(distance, hn::Set(d, T{1})); };
  const std::size_t found = cut(keys, n, firsts, lasts, apart);
  for (std::size_t i = 0; i < found; ++i) {
    out[i] = {gfn{base + firsts[i]}, std::uint64_t{lasts[i]} - firsts[i] + 1};
  }
  return found;
}

struct bounds {
  std::uint64_t low, high;
};
bounds bounds_of(std::span<const std::uint64_t> pages) {
  const hn::ScalableTag<std::uint64_t> d;
  auto low = hn::Set(d, pages[0]), high = low;
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= pages.size(); i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, &pages[i]);
    low = hn::Min(low, v);
    high = hn::Max(high, v);
  }
  bounds b{hn::GetLane(hn::MinOfLanes(d, low)), hn::GetLane(hn::MaxOfLanes(d, high))};
  for (; i < pages.size(); ++i) {
    b.low = HWY_MIN(b.low, pages[i]);
    b.high = HWY_MAX(b.high, pages[i]);
  }
  return b;
}

/// 32-bit distances from the least page, which is returned.
std::uint64_t rebase(std::span<const std::uint64_t> pages, std::uint32_t* keys) {
  const std::uint64_t low = bounds_of(pages).low;
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Rebind<std::uint32_t, decltype(d)> half;
  const auto base = hn::Set(d, low);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= pages.size(); i += hn::Lanes(d)) {
    hn::StoreU(hn::TruncateTo(half, hn::Sub(hn::LoadU(d, &pages[i]), base)), half, keys + i);
  }
  for (; i < pages.size(); ++i) keys[i] = static_cast<std::uint32_t>(pages[i] - low);
  return low;
}

std::size_t vqsort_u64(std::span<std::uint64_t> pages, std::span<gfn_range> out,
                       std::span<std::byte> scratch) {
  static_sort(pages.data(), pages.size());
  return scan(pages.data(), pages.size(), 0, out, scratch, 0);
}

std::size_t vqsort_u32(std::span<std::uint64_t> pages, std::span<gfn_range> out,
                       std::span<std::byte> scratch) {
  const std::size_t n = pages.size();
  auto* const keys = part<std::uint32_t>(scratch, 0);
  const std::uint64_t base = rebase(pages, keys);
  static_sort(keys, n);
  return scan(keys, n, base, out, scratch, (n + 64) * sizeof *keys);
}

std::size_t library_u64(std::span<std::uint64_t> pages, std::span<gfn_range> out,
                        std::span<std::byte> scratch) {
  static hwy::Sorter sorter;
  sorter(pages.data(), pages.size(), hwy::SortAscending());
  return scan(pages.data(), pages.size(), 0, out, scratch, 0);
}

bool in_steps(std::span<const std::uint64_t> pages, std::uint64_t step) {
  const hn::ScalableTag<std::uint64_t> d;
  auto differ = hn::Zero(d);
  const auto wanted = hn::Set(d, step);
  std::size_t i = 1;
  for (; i + hn::Lanes(d) <= pages.size(); i += hn::Lanes(d)) {
    const auto distance = hn::Sub(hn::LoadU(d, &pages[i]), hn::LoadU(d, &pages[i - 1]));
    differ = hn::Or(differ, hn::Xor(distance, wanted));
  }
  bool all = hn::AllTrue(d, hn::Eq(differ, hn::Zero(d)));
  for (; i < pages.size(); ++i) all &= pages[i] - pages[i - 1] == step;
  return all;
}

std::size_t detect(std::span<std::uint64_t> pages, std::span<gfn_range> out, std::span<std::byte>) {
  const bool up = pages.size() == 1 || pages[1] > pages[0];
  if (!in_steps(pages, up ? 1 : ~std::uint64_t{0})) return 0;
  out[0] = {gfn{up ? pages.front() : pages.back()}, pages.size()};
  return 1;
}

std::size_t runs_in_order(std::span<std::uint64_t> pages, std::span<gfn_range> out,
                          std::span<std::byte> scratch) {
  return scan(pages.data(), pages.size(), 0, out, scratch, 0);
}

std::size_t collapse_runs(std::span<std::uint64_t> pages, std::span<gfn_range> out,
                          std::span<std::byte> scratch) {
  const std::size_t n = pages.size();
  auto* const keys = part<std::uint32_t>(scratch, 0);
  auto* const firsts = part<std::uint32_t>(scratch, 4 * (n + 64));
  auto* const lasts = part<std::uint32_t>(scratch, 8 * (n + 64));
  const std::uint64_t base = rebase(pages, keys);
  const auto apart = [](auto d, auto distance) { return hn::Ne(distance, hn::Set(d, 1u)); };
  const std::size_t found = cut(keys, n, firsts, lasts, apart);
  std::uint64_t* const runs = pages.data();
  for (std::size_t i = 0; i < found; ++i) runs[i] = std::uint64_t{firsts[i]} << 32 | lasts[i];
  static_sort(runs, found);
  std::size_t m = 0;
  std::uint64_t first = runs[0] >> 32, last = runs[0] & 0xffffffff;
  for (std::size_t i = 1; i < found; ++i) {
    const std::uint64_t f = runs[i] >> 32, l = runs[i] & 0xffffffff;
    if (f <= last + 1) {
      last = HWY_MAX(l, last);
      continue;
    }
    out[m++] = {gfn{base + first}, last - first + 1};
    first = f;
    last = l;
  }
  out[m] = {gfn{base + first}, last - first + 1};
  return m + 1;
}

const coalesce_vectors* functions() {
  static constexpr coalesce_vectors all = {vqsort_u64, vqsort_u32,    library_u64,
                                           detect,     runs_in_order, collapse_runs};
  return &all;
}

}  // namespace HWY_NAMESPACE
}  // namespace quire::perf
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quire::perf {

const coalesce_vectors* coalesce_vectors_avx2() {
  return hwy::SupportedTargets() & (HWY_AVX2 | HWY_AVX3) ? N_AVX2::functions() : nullptr;
}
const coalesce_vectors* coalesce_vectors_avx512() {
  return hwy::SupportedTargets() & HWY_AVX3 ? N_AVX3::functions() : nullptr;
}

}  // namespace quire::perf
#endif

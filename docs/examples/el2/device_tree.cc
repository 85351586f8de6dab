// [devicetree] "Flattened Devicetree (DTB) Format": a header, reservations, a structure of tokens, strings.
#include <cstring>

#include "console.h"
#include "hypervisor.h"

namespace el2 {
namespace {

using u32 = std::uint32_t;

struct header {
  u32 magic, totalsize, off_dt_struct, off_dt_strings, off_mem_rsvmap, version, last_comp_version,
      boot_cpuid_phys, size_dt_strings, size_dt_struct;
};
enum token : u32 { BEGIN_NODE = 1, END_NODE = 2, PROP = 3, NOP = 4, END = 9 };

constexpr u32 big(u32 w) { return __builtin_bswap32(w); }

const char* text(const void* at, u32 offset) { return static_cast<const char*>(at) + offset; }
bool equal(const char* a, const char* b) {
  for (; *a == *b; ++a, ++b)
    if (*a == 0) return true;
  return false;
}
u32 words(const char* name) {  // that it takes, with its end
  u32 n = 0;
  while (name[n] != 0) ++n;
  return n / 4 + 1;
}

/// The token PROP of the property of a node; null if there is none. Names of nodes are taken to be unique.
const u32* find(const void* tree, const char* node, const char* property) {
  const header& h = *static_cast<const header*>(tree);
  if (big(h.magic) != 0xd00d'feed) fatal("there is no device tree at ", hex{reinterpret_cast<u64>(tree)});
  bool inside = false;
  for (auto* at = reinterpret_cast<const u32*>(text(tree, big(h.off_dt_struct))); *at != big(END);) {
    const u32 kind = big(*at);
    if (kind == BEGIN_NODE) {
      inside = equal(text(at + 1, 0), node);
      at += 1 + words(text(at + 1, 0));
    } else if (kind == PROP) {
      if (inside && equal(text(tree, big(h.off_dt_strings) + big(at[2])), property)) return at;
      at += 3 + (big(at[1]) + 3) / 4;
    } else {
      ++at;
    }
  }
  return nullptr;
}

/// Names that are added to the strings.
constexpr char more_strings[] = "#address-cells\0#size-cells\0ranges\0reg\0no-map";
enum : u32 { address_cells = 0, size_cells = 15, ranges = 27, reg = 34, no_map = 38 };

/// Writes /reserved-memory with the hypervisor's memory, and the end of the tree; `names` is where
/// more_strings begin. [devicetree] "/reserved-memory Node".
u32* write_reservation(u32* at, u32 names) {
  const auto begin_node = [&at](const char* name) {
    *at++ = big(BEGIN_NODE);
    at[words(name) - 1] = 0;
    for (u32 i = 0; name[i] != 0; ++i) reinterpret_cast<char*>(at)[i] = name[i];
    at += words(name);
  };
  const auto property = [&at, names](u32 name, std::initializer_list<u64> value) {
    *at++ = big(PROP);
    *at++ = big(static_cast<u32>(4 * value.size()));
    *at++ = big(names + name);
    for (const u64 word : value) *at++ = big(static_cast<u32>(word));
  };
  begin_node("reserved-memory");
  property(address_cells, {2});
  property(size_cells, {2});
  property(ranges, {});
  begin_node("hypervisor@40000000");
  property(reg, {0, own_first, 0, own_end - own_first});
  property(no_map, {});
  for (const u32 end : {END_NODE, END_NODE, END_NODE, END}) *at++ = big(end);
  return at;
}

}  // namespace

const char* boot_arguments(const void* tree) {
  const u32* found = find(tree, "chosen", "bootargs");
  return found ? text(found + 3, 0) : "";
}

// The structure is the last part but the strings. It gets the reservation before its end, and the strings
// move up.
void make_guest_tree(const void* from, void* to) {
  const header& old = *static_cast<const header*>(from);
  const u32 end = big(old.off_dt_struct) + big(old.size_dt_struct), strings = big(old.size_dt_strings);
  if (end + strings + 1024 > tree_bytes) fatal("the device tree is too long");
  std::memcpy(to, from, end);
  char* out = static_cast<char*>(to);
  u32* tokens_end =
      write_reservation(reinterpret_cast<u32*>(out + end) - 2, strings);  // over END_NODE and END
  char* names = reinterpret_cast<char*>(tokens_end);
  std::memcpy(names, text(from, big(old.off_dt_strings)), strings);
  std::memcpy(names + strings, more_strings, sizeof more_strings);
  header& h = *static_cast<header*>(to);
  h.off_dt_strings = big(static_cast<u32>(names - out));
  h.size_dt_strings = big(strings + u32{sizeof more_strings});
  h.size_dt_struct = big(static_cast<u32>(names - out) - big(h.off_dt_struct));
  h.totalsize = big(static_cast<u32>(names - out) + strings + u32{sizeof more_strings});

  // Secure physical, physical, virtual and hypervisor's timer, three words each: the first two are left.
  auto* timer = const_cast<u32*>(find(to, "timer", "interrupts"));
  if (!timer || big(timer[1]) != 48) fatal("the device tree has no timer as known here");
  timer[1] = big(24);
  for (unsigned i = 0; i < 6; ++i) timer[3 + 6 + i] = big(NOP);
}

}  // namespace el2

// Page tables of Linux, driven through the operations that `quire compare` measures: what C code gives to C++
// code.
#ifndef QUIRE_PERF_PEERS_PEER_H
#define QUIRE_PERF_PEERS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What a table has asked for since it was made.
struct peer_counts {
  uint64_t commands;  ///< invalidations: TLBI, or calls of the flush callbacks
  uint64_t barriers;  ///< DSB, DMB and ISB
};

/// One implementation, of which there is one table at a time. Page numbers and frame numbers are in units of
/// 4 KiB; functions return false where the implementation answers with an error. A null function: it has no
/// such operation.
struct peer {
  const char* name;
  /// Makes an empty table whose tables lie in `memory`, aligned to 64 KiB.
  bool (*make)(void* memory, size_t bytes);
  void (*destroy)(void);
  /// One call for the whole range, in leaves of 4 KiB.
  bool (*map_range)(uint64_t page, uint64_t pages, uint64_t frame);
  /// One call per page; page p gets frame p + distance.
  bool (*map_each)(const uint64_t* pages, size_t count, uint64_t distance);
  bool (*protect_range)(uint64_t page, uint64_t pages);
  /// Entry by entry; the tables stay.
  bool (*unmap_range)(uint64_t page, uint64_t pages);
  bool (*unmap_each)(const uint64_t* pages, size_t count);
  /// Whole tables at once; the range consists of such.
  bool (*unmap_tables)(uint64_t page, uint64_t pages);
  bool (*look_up)(const uint64_t* pages, size_t count, uint64_t* frames);
  /// One page, by the implementation's own lookup. False in holes.
  bool (*read)(uint64_t page, uint64_t* frame, bool* writable);
  struct peer_counts (*counts)(void);
};

extern const struct peer kvm_peer, io_pgtable_peer;

#ifdef __cplusplus
}
#endif

#endif

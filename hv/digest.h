// The digest of a logical mapping: equal for equal mappings, whatever the format, leaf sizes and history.
#pragma once

#include <memory>
#include <string>

#include "runtime/machine.h"

struct XXH3_state_s;

namespace quire::hv {

/// XXH3-128 over maximal runs in ascending order, each as little-endian u64 first gfn, u64 pages, u64 first hfn,
/// u32 permissions (r = 1, w = 2, x = 4), u32 memory type (0 = the format's default).
class mapping_digest {
 public:
  mapping_digest();
  ~mapping_digest();
  mapping_digest(const mapping_digest&) = delete;
  mapping_digest& operator=(const mapping_digest&) = delete;

  /// Adds the next mapping; in ascending order, of any size.
  void add(const runtime::mapping& m);
  /// 32 hexadecimal digits, the most significant first. Ends the digest.
  std::string finish();

 private:
  void write_run();

  XXH3_state_s* state_;
  bool open_ = false;
  runtime::mapping run_;
};

/// The digest of everything that `l`'s space maps, queued updates included.
std::string digest_of(runtime::machine& m, runtime::lazy_state* l, const runtime::space& s);

}  // namespace quire::hv

// Serializing runs into XXH3-128, see digest.h.
#include "hv/digest.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace quire::hv {

namespace {

void put(unsigned char*& to, std::uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) *to++ = static_cast<unsigned char>(value >> (8 * i));
}

}  // namespace

mapping_digest::mapping_digest() : state_(XXH3_createState()) { XXH3_128bits_reset(state_); }
mapping_digest::~mapping_digest() { XXH3_freeState(state_); }

void mapping_digest::add(const runtime::mapping& m) {
  const bool follows = open_ && run_.range.end() == m.range.first && run_.out + run_.range.pages == m.out &&
                       run_.attr.access == m.attr.access && run_.attr.type == m.attr.type;
  if (follows) {
    run_.range.pages += m.range.pages;
    return;
  }
  write_run();
  run_ = m;
  open_ = true;
}

void mapping_digest::write_run() {
  if (!open_) return;
  unsigned char bytes[32];
  unsigned char* to = bytes;
  put(to, run_.range.first.value, 8);
  put(to, run_.range.pages, 8);
  put(to, run_.out.value, 8);
  put(to, static_cast<std::uint64_t>(run_.attr.access) & 7, 4);
  put(to, run_.attr.type, 4);
  XXH3_128bits_update(state_, bytes, sizeof bytes);
}

std::string mapping_digest::finish() {
  write_run();
  open_ = false;
  const XXH128_hash_t h = XXH3_128bits_digest(state_);
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

std::string digest_of(runtime::machine& m, runtime::lazy_state* l, const runtime::space& s) {
  mapping_digest digest;
  const auto add = [](void* context, const runtime::mapping& run) {
    static_cast<mapping_digest*>(context)->add(run);
    return true;
  };
  const auto walked = m.for_each(l, {arch::gfn{0}, s.shape.input_pages}, add, &digest);
  return walked == runtime::status::ok ? digest.finish() : std::string();
}

}  // namespace quire::hv

// What a call of the runtime can answer.
#pragma once

#include <cstdint>

namespace quire::runtime {

enum class [[nodiscard]] status : std::uint8_t {
  ok,
  bad_state,        ///< the lazy_state is null, stale, foreign, freed or forged
  no_section,       ///< leave() outside any section
  not_paused,       ///< resume() without pause()
  bad_cpu,          ///< no such cpu is registered
  bad_range,        ///< empty, or beyond the input or output size of the format
  misaligned,       ///< not a multiple of the smallest leaf, or of the leaf size asked for
  bad_attributes,   ///< the format cannot express the access, memory type or options
  bad_format,       ///< the options of the format make no sense: its bad_options() tells why
  bad_leaf_level,   ///< the format has no leaves at the level asked for
  no_tables,        ///< table memory is used up; nothing was changed or queued
  no_memory,        ///< memory for the runtime's own records is used up
  too_many,         ///< more cpus or spaces than the limits in machine.h
  in_section,       ///< a section is open that must not be
  stopped,          ///< a callback asked for the end of the walk
};

constexpr const char* status_text(status s) {
  switch (s) {
    case status::ok: return "ok";
    case status::bad_state: return "the lazy_state is null, stale, foreign, freed or forged";
    case status::no_section: return "leave without enter";
    case status::not_paused: return "resume without pause";
    case status::bad_cpu: return "no cpu with this index is registered";
    case status::bad_range: return "the range is empty or beyond the address size";
    case status::misaligned: return "the range is not aligned to the leaf size";
    case status::bad_attributes: return "the format cannot express these attributes";
    case status::bad_format: return "the options of the format make no sense";
    case status::bad_leaf_level: return "the format has no leaves of this size";
    case status::no_tables: return "table memory is used up";
    case status::no_memory: return "memory for the runtime's records is used up";
    case status::too_many: return "too many cpus or spaces";
    case status::in_section: return "a section is still open";
    case status::stopped: return "a callback ended the walk";
  }
  return "unknown status";
}

}  // namespace quire::runtime

// Operation scripts of `quire tables`: parsing, with every mistake found before anything runs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "arch/geometry.h"
#include "perf/formats.h"

namespace quire::perf {

enum class verb : std::uint8_t { map, unmap, protect, enter, leave, pause, resume, flush };

struct script_line {
  unsigned number = 0;  ///< in the file, from 1
  verb what = verb::flush;
  arch::gfn_range range;
  arch::hfn out{};
  arch::attributes attr;
  bool exact = false;  ///< with page=SIZE: leaves of exactly `level`
  unsigned level = 0;
};

/// Nesting of sections and pauses as the runtime counts it: everything is inert while paused.
struct section_depth {
  unsigned depth = 0;
  unsigned paused = 0;
  /// False if the line is a leave without enter, or a resume without pause.
  bool apply(verb v);
};

struct script {
  std::vector<script_line> lines;
  /// Empty, or "NAME:LINE: what is wrong".
  std::string error;
};

/// Parses a whole script for a format. All addresses, sizes, permissions and types in the result are such that the
/// runtime accepts them.
script parse_script(const std::string& name, std::string_view text, const chosen_format& format);

/// The language in a few lines, for --help.
std::string script_language();

}  // namespace quire::perf

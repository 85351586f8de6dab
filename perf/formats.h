// Formats by name, with their options from --set; the command line's list of formats.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "arch/arm64/stage2_flush.h"
#include "arch/geometry.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"

namespace quire::perf {

using any_format = std::variant<arch::ept, arch::stage2_4k, arch::stage2_16k, arch::stage2_64k, arch::dat>;
using named_values = std::vector<std::pair<std::string, std::uint64_t>>;
using named_texts = std::vector<std::pair<std::string, std::string>>;
/// Reads a register by name; returns what is wrong, or nothing.
using register_reader = std::function<std::string(const std::string& name, std::uint64_t& value)>;

/// What the command line offers for a format. Functions that return text return what is wrong, or nothing.
struct format_choice {
  std::string name;                       ///< `--format`
  std::string settings;                   ///< what `--set` takes
  std::vector<std::string> memory_types;  ///< by attributes::type; empty if the format has none
  std::vector<std::string> tables;        ///< the manual's names of tables, by level
  std::string access_note;                ///< why some permissions cannot be expressed, or nothing
  any_format initial;
  /// Settings that a replay starts from, so that hardware records accesses where the format can.
  std::vector<std::string> replay_settings;
  /// Those that a guest of terabytes starts from: the same, and leaves of all sizes.
  std::vector<std::string> bulk_settings;
  /// Applies one `name=value`.
  std::string (*set)(any_format& f, const std::string& name, const std::string& value);
  /// Looks at all settings together.
  std::string (*check)(const any_format& f);
  /// All settings as `set` takes them.
  named_texts (*values)(const any_format& f);
  /// The registers that point hardware at the tables.
  named_values (*registers)(const any_format& f, arch::table_address root);
  /// The inverse: the settings that registers hold, and the root table.
  std::string (*from_registers)(any_format& f, const register_reader& read, arch::table_address& root);
};

/// All formats, the default first.
const std::vector<format_choice>& formats();
/// Their names, for messages.
std::string format_names();

/// A format with its settings; `error` says what is wrong with them, or is empty.
struct chosen_format {
  const format_choice* choice = nullptr;
  any_format format;
  std::string error;

  arch::geometry shape() const;
  /// Sizes of leaves by level: "4k", "2m", "1g" and so on.
  std::vector<std::string> page_sizes() const;
};
/// @param first  settings to start from: NAME=VALUE, applied before `settings`
chosen_format choose_format(const std::string& name, const std::vector<std::string>& settings,
                            const std::vector<std::string>& first = {});

/// A power of two of bytes, as people write it.
std::string size_name(std::uint64_t bytes);

// For the files that each describe one format:
const format_choice& ept_choice();
const format_choice& stage2_choice();
const format_choice& dat_choice();
/// Reads on or off.
std::string set_switch(const std::string& name, const std::string& value, bool& to);
std::string no_such_setting(const format_choice& f, const std::string& name);
inline std::string switch_text(bool on) { return on ? "on" : "off"; }

}  // namespace quire::perf

// Formats by name, with their options from --set; the command line's list of formats.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "arch/x86/ept_flush.h"

namespace quire::perf {

using any_format = std::variant<arch::ept>;

/// What the command line offers for a format.
struct format_choice {
  std::string name;            ///< `--format`
  std::string settings;        ///< what `--set` takes, for --help
  std::vector<std::string> page_sizes;    ///< by level
  std::vector<std::string> memory_types;  ///< by attributes::type
  std::vector<std::string> tables;        ///< the manual's names of tables, by level
  /// Applies one `name=value`; returns what is wrong, or nothing.
  std::function<std::string(any_format&, const std::string& name, const std::string& value)> set;
  any_format initial;
};

/// The registers that point hardware at the tables, by name.
std::vector<std::pair<std::string, std::uint64_t>> root_registers(const any_format& f, arch::table_address root);
/// The inverse: the format's options and the root table from its registers. Returns what is wrong, or nothing.
using register_reader = std::function<std::string(const std::string& name, std::uint64_t& value)>;
std::string from_root_registers(any_format& f, const register_reader& read, arch::table_address& root);

/// All formats, the default first.
const std::vector<format_choice>& formats();
/// Null if there is none of this name.
const format_choice* find_format(const std::string& name);
/// Their names, for messages.
std::string format_names();

/// A format with its options; `error` says what is wrong with them, or is empty.
struct chosen_format {
  const format_choice* choice = nullptr;
  any_format format;
  std::string error;
};
chosen_format choose_format(const std::string& name, const std::vector<std::string>& settings);

}  // namespace quire::perf

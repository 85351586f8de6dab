// Writing JSON and other results to files, whole or not at all.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace quire::perf {

/// Keys stay in the order they were added.
using json = nlohmann::ordered_json;

struct output_file {
  std::string path;
  std::string_view content;
};

/// Replaces all files or, if one cannot be written, none: writes beside each and renames at the end. Special files
/// such as /dev/stdout are written directly. Returns what went wrong, or nothing.
std::string write_files(std::initializer_list<output_file> files);

/// A file that an option names; `path` is empty if the option is not there.
struct named_file {
  std::string_view option;
  std::string path;
};

/// Returns "OPTION PATH and OPTION PATH are the same file" if two are, or nothing. Special files may be named twice.
std::string same_file_twice(std::initializer_list<named_file> files);

/// Text of a JSON document, indented, with a final line feed. Bytes that are not UTF-8 become U+FFFD.
std::string to_text(const json& j);

/// Reads a file of at most `limit` bytes. Returns what went wrong, or nothing.
std::string read_file(const std::string& path, std::size_t limit, std::string& content);

}  // namespace quire::perf

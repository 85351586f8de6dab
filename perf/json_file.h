// Writing JSON and other results to files, whole or not at all.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

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

/// Text of a JSON document, indented, with a final line feed. Bytes that are not UTF-8 become U+FFFD.
std::string to_text(const json& j);

/// Reads a file of at most `limit` bytes. Returns what went wrong, or nothing.
std::string read_file(const std::string& path, std::size_t limit, std::string& content);

}  // namespace quire::perf

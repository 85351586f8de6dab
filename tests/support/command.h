// tests/support/command.h: runs the built `quire` as a user would, in a folder of its own.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace quire::tests {

struct command_result {
  int status = -1;       ///< exit status; 128 + the number of the signal that ended it
  bool crashed = false;  ///< ended by a signal, or with a report of a sanitizer
  std::string out, err;
};

/// Runs the executable that QUIRE_COMMAND names and waits for it. Its standard input is empty.
///
/// @param folder  where it runs; "" = here
/// Errors: throws std::runtime_error if it cannot be started.
command_result run_quire(const std::vector<std::string>& arguments, const std::string& folder = "");

/// A fresh folder below the build folder (MESON_BUILD_ROOT, else the current one), removed with the object.
class scratch_folder {
 public:
  scratch_folder();
  ~scratch_folder();
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;

  const std::string& path() const { return path_; }
  /// Path of a file in it.
  std::string operator/(std::string_view name) const { return path_ + '/' + std::string(name); }
  void write(std::string_view name, std::string_view content) const;
  std::string read(std::string_view name) const;
  /// Every file in it, by relative path, with its content; folders end in a slash.
  std::map<std::string, std::string> snapshot() const;

 private:
  std::string path_;
};

/// Whole content of a file. Errors: throws std::runtime_error if it cannot be read.
std::string file_content(const std::string& path);

}  // namespace quire::tests

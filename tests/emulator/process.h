// What every emulator's runner needs: a scratch folder, a program with a time limit, requests packed, answers
// parsed.
#pragma once

#include <bit>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/emulator/emulator.h"

namespace quire::tests {

/// A new folder under $TMPDIR, or under /tmp; removed with all that is in it when the object goes.
class scratch_folder {
 public:
  scratch_folder();
  ~scratch_folder();
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(std::string_view name, std::string_view bytes);
  /// The whole file; empty if there is none.
  std::string read(std::string_view name) const;
  /// Empty, or the first thing that failed: look once, after the last write().
  const std::string& error() const { return error_; }

 private:
  std::filesystem::path path_;
  std::string error_;
};

struct program_output {
  int status = -1;  ///< exit status; 128 + the signal that ended it; 127 if it could not be started
  bool timed_out = false;
  std::string text;  ///< standard output and standard error, as they came; or why it could not be started
};

/// Runs a program to its end, or kills it with SIGKILL after `timeout_s`.
///
/// @param argv    argv[0] is looked up in $PATH
/// @param folder  working folder of the program; its standard input is /dev/null
/// Errors: see program_output. Context: blocks.
program_output run_program(const std::vector<std::string>& argv, const std::filesystem::path& folder,
                           unsigned timeout_s);

/// $QUIRE_PAYLOADS/name if that is a file; else nothing.
std::optional<std::filesystem::path> find_payload(std::string_view name);

/// Value of a register in run.registers; nothing if the test gave none.
std::optional<std::uint64_t> register_value(const emulator_run& run, std::string_view name);

/// The block that a payload reads, 64-bit words throughout: number of requests, number of landing areas,
/// `registers` in the order given; then address and bytes of each landing area; then of each request `what`
/// and its five operands.
std::string pack_run(const emulator_run& run, std::span<const std::uint64_t> registers, std::endian order);

/// The blobs by address, those that touch made one: fewer files to load. Empty ones are dropped.
std::vector<memory_blob> merge_blobs(std::vector<memory_blob> blobs);

/// One answer for each line `A <0 or 1> <value> <detail 0> <detail 1>`, the last three in hexadecimal. Other
/// lines, which a payload or an emulator may print, are skipped, and so is a line that is cut short.
std::vector<answer> parse_answers(std::string_view text);

/// The answers in what a program printed; an error if they are not `requests` in number, with the end of the
/// output.
emulator_result to_result(const program_output& output, std::size_t requests);

}  // namespace quire::tests

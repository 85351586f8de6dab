// tests/emulator/process.cc: scratch folders, programs with a time limit, packing of requests, parsing of
// answers.
#include "tests/emulator/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>
#include <thread>

namespace quire::tests {
namespace {

using clock = std::chrono::steady_clock;

std::string why(std::string_view what, int error) {
  return std::string(what) + ": " + std::generic_category().message(error);
}

/// Appends what comes through `fd` until its writers are gone or the deadline is there.
void read_until(int fd, clock::time_point deadline, std::string& text) {
  char buffer[65536];
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now()).count();
    if (left <= 0) return;
    pollfd waiting{fd, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(left)) <= 0) continue;  // out of time, or a signal: the loop tells
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

/// Starts a program with both outputs going to `out`; an errno value, 0 if it runs.
int start(const std::vector<std::string>& argv, const std::filesystem::path& folder, int out, pid_t& child) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const auto& a : argv)
    words.push_back(const_cast<char*>(a.c_str()));  // posix_spawnp() does not write to them
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  const int error = posix_spawnp(&child, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

/// Exit status of a program; one that is still there at the deadline is killed.
int wait_for(pid_t child, clock::time_point deadline, bool& timed_out) {
  int status = 0;
  while (waitpid(child, &status, WNOHANG) != child) {
    if (clock::now() >= deadline && !timed_out) {
      timed_out = true;
      kill(child, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Takes one number and the blank before it off the front of `line`.
bool take(std::string_view& line, int base, std::uint64_t& value) {
  if (!line.starts_with(' ')) return false;
  line.remove_prefix(1);
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value, base);
  if (error != std::errc{}) return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  return true;
}

std::optional<answer> parse_line(std::string_view line) {
  if (!line.starts_with("A ")) return std::nullopt;
  line.remove_prefix(1);
  std::uint64_t done = 0;
  answer a;
  if (!take(line, 10, done) || !take(line, 16, a.value)) return std::nullopt;
  if (!take(line, 16, a.detail[0]) || !take(line, 16, a.detail[1])) return std::nullopt;
  if (done > 1 || !(line.empty() || line == "\r")) return std::nullopt;
  a.done = done == 1;
  return a;
}

void put(std::string& to, std::uint64_t word, std::endian order) {
  for (unsigned i = 0; i < 8; ++i)
    to += static_cast<char>(word >> (order == std::endian::little ? 8 * i : 56 - 8 * i) & 0xff);
}

}  // namespace

scratch_folder::scratch_folder() {
  const char* base = std::getenv("TMPDIR");  // NOLINT(concurrency-mt-unsafe): nothing sets it
  std::string name = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/quire-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    error_ = why(name, errno);
  } else {
    path_ = name;
  }
}

scratch_folder::~scratch_folder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

void scratch_folder::write(std::string_view name, std::string_view bytes) {
  if (!error_.empty()) return;
  std::ofstream file(path_ / name, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) error_ = "cannot write " + (path_ / name).string();
}

std::string scratch_folder::read(std::string_view name) const {
  std::ifstream file(path_ / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

program_output run_program(const std::vector<std::string>& argv, const std::filesystem::path& folder,
                           unsigned timeout_s) {
  const auto deadline = clock::now() + std::chrono::seconds(timeout_s);
  program_output result;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {127, false, why("pipe", errno)};
  pid_t child = -1;
  const int error = start(argv, folder, ends[1], child);
  close(ends[1]);
  if (error != 0) {
    result = {127, false, why("cannot start " + argv[0], error)};
  } else {
    read_until(ends[0], deadline, result.text);
    result.status = wait_for(child, deadline, result.timed_out);
  }
  close(ends[0]);
  return result;
}

std::optional<std::filesystem::path> find_payload(std::string_view name) {
  const char* folder = std::getenv("QUIRE_PAYLOADS");  // NOLINT(concurrency-mt-unsafe): nothing sets it
  if (folder == nullptr) return std::nullopt;
  std::error_code ignored;
  const auto path = std::filesystem::absolute(std::filesystem::path(folder) / name, ignored);
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  return path;
}

std::optional<std::uint64_t> register_value(const emulator_run& run, std::string_view name) {
  for (const auto& [given, value] : run.registers)
    if (given == name) return value;
  return std::nullopt;
}

std::string pack_run(const emulator_run& run, std::span<const std::uint64_t> registers, std::endian order) {
  std::string block;
  block.reserve(8 * (2 + registers.size() + 2 * run.landings.size() + 6 * run.requests.size()));
  put(block, run.requests.size(), order);
  put(block, run.landings.size(), order);
  for (const auto value : registers) put(block, value, order);
  for (const auto& l : run.landings) {
    put(block, l.address, order);
    put(block, l.bytes, order);
  }
  for (const auto& r : run.requests) {
    put(block, static_cast<std::uint64_t>(r.what), order);
    for (const auto operand : r.operand) put(block, operand, order);
  }
  return block;
}

std::vector<memory_blob> merge_blobs(std::vector<memory_blob> blobs) {
  std::sort(blobs.begin(), blobs.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
  std::vector<memory_blob> merged;
  for (auto& blob : blobs) {
    if (blob.bytes.empty()) continue;
    if (!merged.empty() && merged.back().address + merged.back().bytes.size() == blob.address) {
      merged.back().bytes += blob.bytes;
    } else {
      merged.push_back(std::move(blob));
    }
  }
  return merged;
}

std::vector<answer> parse_answers(std::string_view text) {
  std::vector<answer> answers;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) break;  // cut short
    if (const auto a = parse_line(text.substr(0, end))) answers.push_back(*a);
    text.remove_prefix(end + 1);
  }
  return answers;
}

emulator_result to_result(const program_output& output, std::size_t requests) {
  emulator_result result;
  result.answers = parse_answers(output.text);
  if (!output.timed_out && result.answers.size() == requests) return result;
  result.error = std::to_string(result.answers.size()) + " answers to " + std::to_string(requests) +
                 " requests, " +
                 (output.timed_out ? "killed for time" : "exit status " + std::to_string(output.status));
  const std::size_t shown = std::min<std::size_t>(output.text.size(), 1000);
  result.error += "; the output ends:\n" + output.text.substr(output.text.size() - shown);
  result.answers.clear();
  return result;
}

}  // namespace quire::tests

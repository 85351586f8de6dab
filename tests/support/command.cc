// tests/support/command.cc: child processes whose output goes to memory files, so that no pipe can fill up.
#include "tests/support/command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

extern char** environ;

namespace quire::tests {

namespace {

// NOLINTNEXTLINE(concurrency-mt-unsafe): no test changes the environment
const char* environment(const char* name) { return std::getenv(name); }

void require(int error, const char* what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

class memory_file {
 public:
  memory_file() : fd_(memfd_create("output", MFD_CLOEXEC)) {
    if (fd_ < 0) require(errno, "memfd_create");
  }
  ~memory_file() { ::close(fd_); }
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;

  int descriptor() const { return fd_; }
  std::string content() const {
    std::string text;
    char buffer[65536];
    ssize_t n = 0;
    while ((n = ::pread(fd_, buffer, sizeof buffer, static_cast<off_t>(text.size()))) > 0) {
      text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
  }

 private:
  int fd_;
};

pid_t spawn(const char* program, const std::vector<std::string>& arguments, const std::string& folder,
            int out, int err) {
  std::vector<char*> words = {const_cast<char*>(program)};
  for (const std::string& a : arguments) words.push_back(const_cast<char*>(a.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  require(posix_spawn_file_actions_init(&actions), "posix_spawn_file_actions_init");
  int error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  if (error == 0 && !folder.empty()) error = posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  pid_t child = -1;
  if (error == 0) error = posix_spawn(&child, program, &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  require(error, program);
  return child;
}

bool reported(std::string_view err) {
  for (const char* mark : {"Sanitizer", "runtime error:", "terminate called"}) {
    if (err.find(mark) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

command_result run_quire(const std::vector<std::string>& arguments, const std::string& folder) {
  const char* program = environment("QUIRE_COMMAND");
  if (program == nullptr) throw std::runtime_error("QUIRE_COMMAND does not name the executable under test");
  const memory_file out;
  const memory_file err;
  const pid_t child = spawn(program, arguments, folder, out.descriptor(), err.descriptor());
  int state = 0;
  while (::waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) require(errno, "waitpid");
  }
  command_result r;
  r.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  r.out = out.content();
  r.err = err.content();
  r.crashed = !WIFEXITED(state) || reported(r.err);
  return r;
}

scratch_folder::scratch_folder() {
  const char* build = environment("MESON_BUILD_ROOT");
  path_ = std::string(build != nullptr && *build != 0 ? build : ".") + "/scratch_XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) require(errno, path_.c_str());
}

scratch_folder::~scratch_folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void scratch_folder::write(std::string_view name, std::string_view content) const {
  std::ofstream file(*this / name, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: cannot write", *this / name));
}

std::string scratch_folder::read(std::string_view name) const { return file_content(*this / name); }

std::map<std::string, std::string> scratch_folder::snapshot() const {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path_)) {
    const std::string name = std::filesystem::relative(entry.path(), path_).string();
    if (entry.is_directory()) {
      all[name + '/'];
    } else {
      all[name] = file_content(entry.path().string());
    }
  }
  return all;
}

std::string file_content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file.good() && !file.eof()) throw std::runtime_error(fmt::format("{}: cannot read", path));
  return content;
}

}  // namespace quire::tests

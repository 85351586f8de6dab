// Files of json_file.h by POSIX calls, whose errors name the cause.
#include "perf/json_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace quire::perf {

namespace {

std::string reason(int error) { return std::generic_category().message(error); }

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool is_special(const std::string& path) {
  struct stat s {};
  return stat(path.c_str(), &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

bool is_directory(const std::string& path) {
  struct stat s {};
  return path.ends_with('/') || (stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode));
}

bool same_file(const std::string& a, const std::string& b) {
  if (is_special(a) || is_special(b)) return false;
  std::error_code failed;
  if (std::filesystem::equivalent(a, b, failed)) return true;  // links
  const auto whole = [&failed](const std::string& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path, failed), failed);
  };
  return whole(a) == whole(b);
}

std::string write_to(const std::string& path, const std::string& opened, int flags, std::string_view content) {
  const int fd = open(opened.c_str(), flags, 0666);
  if (fd < 0) return fmt::format("{}: cannot write: {}", path, reason(errno));
  bool done = write_all(fd, content);
  int error = errno;
  if (close(fd) != 0 && done) {
    done = false;
    error = errno;
  }
  return done ? std::string() : fmt::format("{}: cannot write: {}", path, reason(error));
}

}  // namespace

std::string write_files(std::initializer_list<output_file> files) {
  std::string wrong;
  std::vector<std::string> parts;
  for (const output_file& f : files) {
    if (is_directory(f.path)) return fmt::format("{}: cannot write: {}", f.path, reason(EISDIR));
  }
  for (const output_file& f : files) {
    parts.push_back(is_special(f.path) ? std::string() : f.path + fmt::format(".{}.part", getpid()));
    const int flags = O_WRONLY | O_CLOEXEC | (parts.back().empty() ? 0 : O_CREAT | O_TRUNC);
    wrong = write_to(f.path, parts.back().empty() ? f.path : parts.back(), flags, f.content);
    if (!wrong.empty()) break;
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    const std::string& path = files.begin()[i].path;
    if (wrong.empty() && std::rename(parts[i].c_str(), path.c_str()) != 0) {
      wrong = fmt::format("{}: cannot write: {}", path, reason(errno));
    }
    if (!wrong.empty()) unlink(parts[i].c_str());
  }
  return wrong;
}

std::string same_file_twice(std::initializer_list<named_file> files) {
  for (const named_file* a = files.begin(); a != files.end(); ++a) {
    for (const named_file* b = files.begin(); b != a; ++b) {
      if (a->path.empty() || b->path.empty() || !same_file(a->path, b->path)) continue;
      return fmt::format("{} {} and {} {} are the same file", b->option, b->path, a->option, a->path);
    }
  }
  return {};
}

std::string to_text(const json& j) { return j.dump(2, ' ', false, json::error_handler_t::replace) + "\n"; }

std::string read_file(const std::string& path, std::size_t limit, std::string& content) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fmt::format("{}: cannot open: {}", path, reason(errno));
  content.clear();
  char buffer[65536];
  ssize_t n = 0;
  while ((n = read(fd, buffer, sizeof buffer)) != 0 && content.size() <= limit) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    content.append(buffer, static_cast<std::size_t>(n));
  }
  const int error = errno;
  close(fd);
  if (n < 0) return fmt::format("{}: cannot read: {}", path, reason(error));
  if (content.size() > limit) return fmt::format("{}: larger than the {} bytes that are allowed", path, limit);
  return {};
}

}  // namespace quire::perf

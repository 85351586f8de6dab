// The `quire` command: parses arguments and runs one subcommand.
#include <cstdio>

#include <fmt/format.h>

#include "perf/command.h"
#include "perf/numbers.h"

namespace quire::perf {

CLI::Validator whole_number(std::uint64_t least, std::uint64_t most) {
  const auto check = [least, most](std::string& text) -> std::string {
    const auto v = parse_number(text);
    if (!v || *v < least || *v > most) return fmt::format("'{}' is not a whole number from {} to {}", text, least, most);
    text = std::to_string(*v);
    return {};
  };
  return {check, fmt::format("{} to {}", least, most)};
}

CLI::Validator file_name() {
  return {[](std::string& text) { return text.empty() ? std::string("'' is not the name of a file") : std::string(); }, ""};
}

int refuse(const std::string& message) {
  fmt::print(stderr, "quire: {}\n", message);
  return bad_input;
}

namespace {

// CLI11 misses the subcommand before it looks at words that are none.
std::string explained(const CLI::App& app, const CLI::ParseError& e) {
  const auto unknown = app.remaining();
  if (!app.get_subcommands().empty() || unknown.empty()) return e.what();
  return fmt::format("'{}': no such command; there is replay, tables, walk", unknown.front());
}

int run(int argc, char** argv) {
  CLI::App app{
      "Batched page-table updates for hypervisors: replays recorded guests on second-stage tables, eagerly and in\n"
      "lazy sections, and builds and walks such tables.",
      "quire"};
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 all is well; 1 a check failed (digests differ, or a stale translation was used);\n"
      "2 arguments, files or traces cannot be used, and nothing was written.\n"
      "`quire COMMAND --help` explains a command.");
  action chosen;
  add_replay(app, chosen);
  add_tables(app, chosen);
  add_walk(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help
    return refuse(fmt::format("{}\nTry `quire --help` or `quire COMMAND --help`.", explained(app, e)));
  }
  const int status = chosen();
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) return refuse("cannot write to standard output");
  return status;
}

}  // namespace

}  // namespace quire::perf

int main(int argc, char** argv) {
  try {
    return quire::perf::run(argc, argv);
  } catch (const std::bad_alloc&) {
    return quire::perf::refuse("out of memory");
  } catch (const std::exception& e) {
    return quire::perf::refuse(e.what());
  }
}

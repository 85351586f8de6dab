// The `quire` command: parses arguments and runs one subcommand.
#include <cstdio>

#include <fmt/format.h>

#include "perf/command.h"

namespace quire::perf {

int refuse(const std::string& message) {
  fmt::print(stderr, "quire: {}\n", message);
  return bad_input;
}

namespace {

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
    return refuse(fmt::format("{}\nTry `quire --help` or `quire COMMAND --help`.", e.what()));
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

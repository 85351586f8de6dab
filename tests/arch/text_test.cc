// Lines of text without a C library.
#include "arch/text.h"

#include <doctest/doctest.h>

#include <string>

namespace quire::tests {

using arch::text_line;

namespace {

std::string text(const text_line& line) { return line.c_str(); }

}  // namespace

TEST_SUITE("text") {
TEST_CASE("a new line is empty") { CHECK(text(text_line()).empty()); }
TEST_CASE("strings and numbers are appended in order") {
  text_line line;
  line << "first=" << 0x100 << " pages=" << 1;
  CHECK(text(line) == "first=0x100 pages=0x1");
}
TEST_CASE("numbers are hexadecimal, lower case and without leading zeros") {
  const auto of = [](std::uint64_t value) { return text(text_line() << value); };
  CHECK(of(0) == "0x0");
  CHECK(of(9) == "0x9");
  CHECK(of(0xf) == "0xf");
  CHECK(of(0x10) == "0x10");
  CHECK(of(0x0123456789abcdef) == "0x123456789abcdef");
  CHECK(of(0x1000000000000000) == "0x1000000000000000");
  CHECK(of(0x8000000000000000) == "0x8000000000000000");
  CHECK(of(0xffffffffffffffff) == "0xffffffffffffffff");
}
TEST_CASE("a line holds 119 characters and cuts off the rest") {
  text_line line;
  line << std::string(118, 'a').c_str() << "bc"
       << "d" << 0x1234;
  CHECK(text(line) == std::string(118, 'a') + "b");
}
TEST_CASE("a number that does not fit is cut off in its middle") {
  text_line line;
  line << std::string(115, 'a').c_str() << 0xabcd;
  CHECK(text(line) == std::string(115, 'a') + "0xab");
}
TEST_CASE("a line can be made at compile time") {
  constexpr text_line line = text_line() << "root=" << 0x7000;
  CHECK(text(line) == "root=0x7000");
}
}

}  // namespace quire::tests

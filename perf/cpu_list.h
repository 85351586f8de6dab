// Lists of numbers of cpus or threads, as `quire scale` and `quire bulk` take them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire::perf {

/// Reads a list such as 1,2,4 or 1-4 of numbers from 1 to `processors`. They come out ascending and distinct,
/// 1 always among them: speed-up is measured against it. Returns what is wrong, or nothing.
/// @param beyond_note  what the message says behind the allowed range if a number is too large
std::string parse_cpu_list(std::string_view option, const std::string& list, unsigned processors,
                           std::string_view beyond_note, std::vector<unsigned>& cpus);
/// Powers of two below `last`, and `last`.
std::vector<unsigned> doubling_to(unsigned last);

}  // namespace quire::perf

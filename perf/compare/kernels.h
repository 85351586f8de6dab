// What the machine can do at best with words that lie where entries of tables would: the loops behind
// `limit`.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "perf/compare/contestant.h"

namespace quire::perf {

/// The best variant that this processor runs: "avx512", "avx2" or "scalar".
std::string_view kernel_variant();

/// Table by table: if all words are 0, stores first, first + step and so on. Returns false where one is not.
bool check_and_fill(std::span<std::uint64_t> words, std::uint64_t first, std::uint64_t step);
/// Stores index[i] at words[index[i]].
void scatter(std::uint64_t* words, std::span<const std::uint32_t> index);
void and_not(std::span<std::uint64_t> words, std::uint64_t bits);
void zero(std::span<std::uint64_t> words);
/// to[i] = words[index[i]]
void gather(const std::uint64_t* words, std::span<const std::uint32_t> index, std::span<std::uint64_t> to);
/// One locked instruction per word. Returns how many were not 0.
std::uint64_t exchange_each(std::span<std::uint64_t> words, std::uint64_t to);
void locked_and_each(std::span<std::uint64_t> words, std::uint64_t mask);

/// Clears `bits` where any is set, by a locked instruction; whole vectors are looked at first. Returns how
/// many words had any.
std::uint64_t harvest(std::span<std::uint64_t> words, std::uint64_t bits);
/// The same, word by word.
std::uint64_t harvest_scalar(std::span<std::uint64_t> words, std::uint64_t bits);

}  // namespace quire::perf

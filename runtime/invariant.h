// Checks of invariants, each with the sentence that it protects.
#pragma once

#if __STDC_HOSTED__
#include <cassert>
/// Ends the program if `condition` is false; `sentence` says what was promised.
#define QUIRE_INVARIANT(condition, sentence) assert((condition) && (sentence))
#else
#define QUIRE_INVARIANT(condition, sentence) ((condition) ? void() : __builtin_trap())
#endif

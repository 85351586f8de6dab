// In place of coalesce_vqsort.cc where Google Highway is missing, or for another architecture.
#include "perf/coalesce_vqsort.h"

namespace quire::perf {

const coalesce_vectors* coalesce_vectors_avx2() { return nullptr; }
const coalesce_vectors* coalesce_vectors_avx512() { return nullptr; }

}  // namespace quire::perf

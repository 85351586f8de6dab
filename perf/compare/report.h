// What `quire compare` prints and writes.
#pragma once

#include <nlohmann/json.hpp>

#include "perf/compare/contest.h"
#include "perf/compare/options.h"
#include "perf/json_file.h"

namespace quire::perf {

struct compare_report {
  std::string machine;  ///< model of the processor
  std::vector<contest> contests;
  json more = json::object();  ///< members of the JSON behind `rows`
  std::string more_text;       ///< printed behind the table

  std::string text(const compare_options& o) const;
  std::string json_text() const;
};

/// The processor's model, as the system tells it.
std::string processor_model();

}  // namespace quire::perf

// The loop of the second vCPU.
#include "guest.h"

namespace self_check {

second_cpu second;

void second_cpu::start(job what, u64 address, u64 pages) {
  job_.store(static_cast<u64>(what), std::memory_order_relaxed);     // relaxed: published by the request
  address_.store(address, std::memory_order_relaxed);                // relaxed: likewise
  pages_.store(pages, std::memory_order_relaxed);                    // relaxed: likewise
  const u64 request = request_.load(std::memory_order_relaxed) + 1;  // relaxed: this vCPU alone writes it
  request_.store(request, std::memory_order_release);                // release: the job
  if (!within_two_seconds([&] { return accepted_.load(std::memory_order_acquire) == request; }))
    note("the second vCPU takes a job", false);
}

bool second_cpu::next_lap() {
  const u64 now = laps_.load(std::memory_order_acquire);  // acquire: as seen()
  return within_two_seconds(
      [&] { return laps_.load(std::memory_order_acquire) >= now + 2; });  // acquire: likewise
}

void second_cpu::run() {
  job what = job::idle;
  u64 address = 0, pages = 0;
  for (;;) {
    const u64 request = request_.load(std::memory_order_acquire);  // acquire: the job
    if (accepted_.load(std::memory_order_relaxed) != request) {    // relaxed: this vCPU alone writes it
      what = static_cast<job>(
          job_.load(std::memory_order_relaxed));           // relaxed: start() waits, so all three last
      address = address_.load(std::memory_order_relaxed);  // relaxed: likewise
      pages = pages_.load(std::memory_order_relaxed);      // relaxed: likewise
      if (what == job::sweep) {
        expected_ = 0;
        errors_.store(0, std::memory_order_relaxed);  // relaxed: published by accepted_
      }
      // release: from here on, nothing of the old job happens
      accepted_.store(request, std::memory_order_release);
    }
    lap(what, address, pages);
    laps_.fetch_add(1, std::memory_order_release);  // release: what was seen
  }
}

void second_cpu::lap(job what, u64 address, u64 pages) {
  switch (what) {
    case job::idle:
      return;
    case job::read:
      return seen_.store(load(address), std::memory_order_release);  // release: before the lap ends
    case job::write:
      return store(address, load(address) + 1);
    case job::sweep:
      for (u64 page = address; page < address + pages * page_bytes; page += page_bytes) {
        if (load(page) != expected_) errors_.fetch_add(1, std::memory_order_relaxed);  // relaxed: a number
        store(page, expected_ + 1);
      }
      ++expected_;
  }
}

}  // namespace self_check

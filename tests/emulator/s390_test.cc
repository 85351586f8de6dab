// QEMU's and Hercules' z/Architecture on what random mappings do not show: every exception by its code,
// lengths of tables, clearing by ASCE and everything, common segments, LRA and storage keys.
#include "tests/emulator/s390_session.h"

namespace quire::tests {

namespace {

using arch::dat;
using s390::op;

constexpr std::uint64_t land = s390_landings;

// Hercules' TLB has a line for bits 12 to 21 of an address. The payload and its tables use no address with
// these ones, so what stays cached here does so because nothing cleared it.
constexpr std::uint64_t own_line = 0x300000;

}  // namespace

TEST_SUITE("emulator") {
TEST_CASE("s390: a hole of each level has its own code, with address, space and kind of access in the TEID") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region1), 0);
    s.map(page, land, perm::rwx);
    dat_session run(m);
    for (unsigned level = 0; level < 5; ++level) {
      run.reaches(probe::read, page, land);
      for (const probe p : {probe::read, probe::write, probe::fetch})
        run.faults(p, beside(level), hole_code[level]);
    }
    run.check({&s});
  }
}

TEST_CASE("s390: an address that the ASCE's table does not span is an ASCE-type exception") {
  for (const s390_machine& m : s390_machines) {
    dat_space segment(space_format(m, dat::top::segment), 0), region3(space_format(m, dat::top::region3), 1),
        region2(space_format(m, dat::top::region2), 2);
    dat_session run(m);
    std::uint64_t span = std::uint64_t{1} << 31;
    for (dat_space* s : {&segment, &region3, &region2}) {
      s->map(span - 0x1000, land + 0x5000, perm::rwx);
      run.use(s->asce());
      run.reaches(probe::read, span - 0x1000, land + 0x5000);
      for (const probe p : {probe::read, probe::write, probe::fetch}) run.faults(p, span, asce_type);
      run.faults(probe::read, std::uint64_t{1} << 63, asce_type);
      span <<= 11;
    }
    run.check({&segment, &region3, &region2});
  }
}

TEST_CASE("s390: the TEID tells stores to protected pages, segments and regions from fetches under IEP") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region1), 0);
    s.map(page, land, perm::rx);
    s.map(page + 0x1000, land + 0x1000, perm::rwx);
    dat_session run(m);
    run.faults(probe::write, page, protection, by_dat);
    run.reaches(probe::read, page, land);
    run.reaches(probe::fetch, page, land);
    if (m.iep) {
      s.map(page + 0x2000, land + 0x2000, perm::rw);
      run.faults(probe::fetch, page + 0x2000, protection, by_iep);
      run.reaches(probe::write, page + 0x2000, land + 0x2000);
    }
    if (m.edat) {
      s.map(beside(1) & ~0xfffffull, land + 0x100000, perm::rx, 1);
      run.faults(probe::write, beside(1), protection, by_dat);
      run.reaches(probe::read, beside(1), land + 0x100000 + (page & 0xff000));
    }
    // P in a table entry: over a page that itself may be written. In region-table entries it counts with
    // EDAT-1.
    for (unsigned level = 1; level < 5; ++level) {
      const std::uint64_t at = s.entry(page, level);
      run.poke(at, s.word(at) | 0x200);
      run.command(op::purge);
      run.reaches(probe::read, page + 0x1000, land + 0x1000);
      if (level == 1 || m.edat) {
        run.faults(probe::write, page + 0x1000, protection, by_dat);
      } else {
        run.reaches(probe::write, page + 0x1000, land + 0x1000);
      }
      run.poke(at, s.word(at));
      run.command(op::purge);
      run.reaches(probe::write, page + 0x1000, land + 0x1000);
    }
    run.check({&s});
  }
}

TEST_CASE("s390: malformed entries are translation-specification exceptions, and dat::malformed names each") {
  for (const s390_machine& m : s390_machines) {
    const dat f = space_format(m, dat::top::region1);
    dat_space s(f, 0);
    s.map(page, land, perm::rwx);
    dat_session run(m);
    const auto malformed = [&](unsigned level, std::uint64_t flipped) {
      const std::uint64_t at = s.entry(page, level), word = s.word(at) ^ flipped;
      CHECK(f.malformed(word, level) != nullptr);
      run.poke(at, word);
      run.command(op::purge);
      for (const probe p : {probe::read, probe::write, probe::fetch}) run.faults(p, page, specification);
      run.poke(at, s.word(at));
      run.command(op::purge);
      run.reaches(probe::read, page, land);
    };
    malformed(0, 0x800);  // bit 52
    for (unsigned level = 1; level < 5; ++level) {
      malformed(level, 0x4);  // TT of another table
      malformed(level, 0x8);
    }
    run.check({&s});
  }
}

TEST_CASE("s390: what lies beyond the table length of an ASCE is a hole, though the entry is valid") {
  for (const s390_machine& m : s390_machines) {
    dat_space spaces[] = {{space_format(m, dat::top::segment), 0},
                          {space_format(m, dat::top::region3), 1},
                          {space_format(m, dat::top::region2), 2},
                          {space_format(m, dat::top::region1), 3}};
    dat_session run(m);
    unsigned shift = 20;
    for (unsigned i = 0; i < 4; ++i, shift += 11) {
      for (std::uint64_t n = 511; n < 2048; n += 512) {
        spaces[i].map(n << shift, land + (n << 12), perm::rwx);
        if (n != 2047) spaces[i].map((n + 1) << shift, land + ((n + 1) << 12), perm::rwx);
      }
      for (std::uint64_t length = 0; length < 4; ++length) {
        run.use((spaces[i].asce() & ~std::uint64_t{3}) | length);
        for (std::uint64_t n = 511; n < 2048; n += 512) {
          for (const std::uint64_t index : {n, n + 1}) {
            if (index == 2048) continue;
            if (index / 512 <= length) {
              run.reaches(probe::read, index << shift, land + (index << 12));
            } else {
              run.faults(probe::read, index << shift, hole_code[i + 1]);
            }
          }
        }
      }
    }
    run.check({&spaces[0], &spaces[1], &spaces[2], &spaces[3]});
  }
}

TEST_CASE("s390: TF and TL of a region-table entry cut the table under it, though entries are valid") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region1), 0);
    constexpr unsigned shift[] = {12, 20, 31, 42, 53};
    dat_session run(m);
    for (unsigned level = 2; level < 5; ++level) {
      const std::uint64_t region = std::uint64_t{level} << shift[level];
      const auto address = [&](std::uint64_t index) { return region | index << shift[level - 1]; };
      for (std::uint64_t n = 0; n < 4; ++n) {
        for (const std::uint64_t index : {512 * n, 512 * n + 511})
          s.map(address(index), land + (index << 12), perm::rwx);
      }
      const std::uint64_t at = s.entry(region, level);
      for (std::uint64_t cut = 0; cut < 16; ++cut) {
        const std::uint64_t offset = cut / 4, length = cut % 4;
        run.poke(at, (s.word(at) & ~std::uint64_t{0xc3}) | offset << 6 | length);
        run.command(op::purge);
        for (std::uint64_t n = 0; n < 4; ++n) {
          for (const std::uint64_t index : {512 * n, 512 * n + 511}) {
            if (offset <= n && n <= length) {
              run.reaches(probe::read, address(index), land + (index << 12));
            } else {
              run.faults(probe::read, address(index), hole_code[level - 1]);
            }
          }
        }
      }
    }
    run.check({&s});
  }
}

TEST_CASE("s390: a stored page-table entry is stale until IDTE of the ASCE or a purge, local ones too") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region3), 0);
    dat_session run(m);
    std::uint64_t address = own_line;
    for (const op o : {op::idte_asce, op::idte_asce_local, op::purge, op::purge_local}) {
      address += std::uint64_t{1} << 31;
      s.map(address, land, perm::rwx);
      run.reaches(probe::read, address, land);
      run.poke(s.entry(address, 0), land + 0x80'0000);
      run.reaches(probe::read, address, land);
      run.command(o, {s.asce()});  // PTLB and CSP take none
      run.reaches(probe::read, address, land + 0x80'0000);
    }
    run.check({&s});
  }
}

TEST_CASE("s390: an entry that a store made invalid is used until its IPTE or IDTE, local ones too") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region3), 0);
    dat_session run(m);
    std::uint64_t address = own_line;
    for (const bool local : {false, true}) {
      for (unsigned level = 0; level < 3; ++level) {
        address += std::uint64_t{1} << 31;
        s.map(address, land, perm::rwx);
        const std::uint64_t at = s.entry(address, level);
        run.reaches(probe::read, address, land);
        run.poke(at, s.word(at) | (level == 0 ? 0x400 : 0x20));
        run.reaches(probe::read, address, land);
        if (level == 0) {
          run.command(local ? op::ipte_local : op::ipte, {at & ~std::uint64_t{0x7ff}, address});
        } else {
          const std::uint64_t table = (at & ~std::uint64_t{0x3fff}) | (level - 1) << 2;  // origin, type
          run.command(local ? op::idte_local : op::idte, {table, address});
        }
        run.faults(probe::read, address, hole_code[level]);
      }
    }
    run.check({&s});
  }
}

TEST_CASE("s390: common segments translate as others do; a private space may not have them") {
  for (const s390_machine& m : s390_machines) {
    dat f = space_format(m, dat::top::region2);
    f.common_segments = true;
    dat_space s(f, 0);
    constexpr std::uint64_t address = page & 0x1fffffffffffff, frame = (address & ~0xfffffull) + 0x100000;
    s.map(address, land, perm::rwx);
    if (m.edat) s.map(frame, land + 0x100000, perm::rwx, 1);
    CHECK((s.word(s.entry(address, 1)) & 0x10) == 0x10);
    dat_session run(m);
    const auto touch = [&](auto each) {
      for (const probe p : {probe::read, probe::write, probe::fetch}) {
        each(p, address, land);
        if (m.edat) each(p, frame, land + 0x100000);
      }
    };
    touch([&](probe p, std::uint64_t a, std::uint64_t to) { run.reaches(p, a, to); });
    run.use(s.asce() | 0x100);  // private-space control
    run.command(op::purge);
    touch([&](probe p, std::uint64_t a, std::uint64_t) { run.faults(p, a, specification); });
    run.use(s.asce());
    touch([&](probe p, std::uint64_t a, std::uint64_t to) { run.reaches(p, a, to); });
    const std::uint64_t at = s.entry(address, 0);
    run.poke(at, land + 0x5000);
    run.command(op::purge);  // what the runtime plans for them in place of IDTE by ASCE
    run.reaches(probe::read, address, land + 0x5000);
    run.check({&s});
  }
}

TEST_CASE("hercules: what is cached of a common segment serves other spaces until a purge; the rest not") {
  const s390_machine& m = s390_machines[1];  // QEMU drops its TLB when another ASCE is loaded
  dat f = space_format(m, dat::top::region3);
  dat_space mine(f, 0), yours(f, 1);
  f.common_segments = true;
  dat_space common(f, 2), also_common(f, 3);
  std::uint64_t to = land;
  for (dat_space* s : {&mine, &yours, &common, &also_common}) s->map(own_line, to += 0x1000, perm::rwx);
  dat_session run(m);
  run.reaches(probe::read, own_line, land + 0x1000);
  run.use(yours.asce());
  run.reaches(probe::read, own_line, land + 0x2000);
  run.command(op::purge);
  run.use(common.asce());
  run.reaches(probe::read, own_line, land + 0x3000);
  run.use(also_common.asce());
  run.reaches(probe::read, own_line, land + 0x3000);
  run.command(op::purge);
  run.reaches(probe::read, own_line, land + 0x4000);
  run.check({&mine, &yours, &common, &also_common});
}

TEST_CASE("s390: LRA's condition code is 1 for a hole of segments, 2 for one of pages, 3 for the others") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region2), 0);
    constexpr std::uint64_t address = page & 0x1fffffffffffff, outside = beside(0) & 0x1fffffffffffff;
    s.map(address, land + 0x3000, perm::rx);
    dat_session run(m);
    run.lra(address + 0x678, 0, land + 0x3678);
    if (m.condition_codes) {
      run.lra(outside, 2, s.entry(outside, 0));
      const std::uint64_t no_segment = address + 0x100000;
      run.lra(no_segment, 1, s.entry(no_segment, 1));
    }
    constexpr std::uint64_t failed = 0x80000000;  // with the interruption code that an access would have
    run.lra(address + (std::uint64_t{1} << 31), 3, failed | hole_code[2]);
    run.lra(address + (std::uint64_t{1} << 42), 3, failed | hole_code[3]);
    run.lra(page, 3, failed | asce_type);
    if (m.edat) {
      s.map((address & ~0xfffffull) + 0x200000, land + 0x100000, perm::rwx, 1);
      run.lra(address + 0x200678, 0, land + 0x100000 + (address & 0xff000) + 0x678);
    }
    run.check({&s});
  }
}

TEST_CASE("s390: reference and change are in the frame's storage key, and no access changes an entry") {
  for (const s390_machine& m : s390_machines) {
    dat_space s(space_format(m, dat::top::region3), 0);
    constexpr std::uint64_t referenced = 4, changed = 2;  // [pop] "Storage Key"
    s.map(0x300000, land, perm::rwx);
    s.map(0x301000, land + 0x1000, perm::rwx);
    dat_session run(m);
    for (const std::uint64_t frame : {land, land + 0x1000}) {
      run.command(op::set_key, {frame, 0});
      run.key(frame, 0);
    }
    run.reaches(probe::read, 0x300000, land);
    run.key(land, referenced);
    run.reset_reference(land, 2);
    run.key(land, 0);
    run.reaches(probe::write, 0x300000, land);
    run.key(land, referenced | changed);
    run.reset_reference(land, 3);
    run.reset_reference(land, 1);
    run.key(land, changed);
    run.reset_reference(land + 0x1000, 0);  // the other frame
    for (unsigned level = 0; level < 3; ++level)
      run.peek(s.entry(0x300000, level), s.word(s.entry(0x300000, level)));
    run.check({&s});
  }
}
}

}  // namespace quire::tests

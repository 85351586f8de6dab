// arm64 stage 2 on the command line: settings, VTTBR_EL2 and VTCR_EL2.
#include <algorithm>

#include <fmt/format.h>

#include "perf/formats.h"
#include "perf/numbers.h"

namespace quire::perf {

namespace {

// Of a format of any granule, const or not.
auto& options_of(auto& f) {
  using options = std::conditional_t<std::is_const_v<std::remove_reference_t<decltype(f)>>, const arch::stage2_options,
                                     arch::stage2_options>;
  options* found = std::get_if<arch::stage2_4k>(&f);
  if (auto* sixteen = std::get_if<arch::stage2_16k>(&f)) found = sixteen;
  if (auto* large = std::get_if<arch::stage2_64k>(&f)) found = large;
  return *found;
}

unsigned granule_of(const any_format& f) {
  return std::holds_alternative<arch::stage2_4k>(f) ? 12 : std::holds_alternative<arch::stage2_16k>(f) ? 14 : 16;
}

template <unsigned granule>
any_format with(const arch::stage2_options& o) {
  arch::stage2<granule> f;
  static_cast<arch::stage2_options&>(f) = o;
  return f;
}
any_format with_granule(unsigned granule, const arch::stage2_options& o) {
  return granule == 12 ? with<12>(o) : granule == 14 ? with<14>(o) : with<16>(o);
}

std::string set_number(const std::string& name, const std::string& value, std::uint64_t least, std::uint64_t most,
                       std::uint64_t& to) {
  const auto n = parse_number(value);
  if (!n || *n < least || *n > most) return fmt::format("{}={}: {} is a number from {} to {}", name, value, name, least, most);
  to = *n;
  return {};
}

std::string set_size(const std::string& name, const std::string& value, unsigned& bits) {
  std::uint64_t n = 0;
  std::string wrong = set_number(name, value, 32, 52, n);
  if (!wrong.empty()) return wrong;
  if (name == "oa_bits" && arch::stage2_4k::output_size_code(static_cast<unsigned>(n)) == 7) {
    return fmt::format("oa_bits={}: oa_bits is 32, 36, 40, 42, 44, 48 or 52", value);
  }
  bits = static_cast<unsigned>(n);
  return {};
}

std::string set(any_format& f, const std::string& name, const std::string& value) {
  arch::stage2_options& o = options_of(f);
  if (name == "granule") {
    const unsigned granule = value == "4k" ? 12 : value == "16k" ? 14 : value == "64k" ? 16 : 0;
    if (granule == 0) return fmt::format("granule={}: granule is 4k, 16k or 64k", value);
    const arch::stage2_options kept = o;
    f = with_granule(granule, kept);
    return {};
  }
  if (name == "ipa_bits") return set_size(name, value, o.ipa_bits);
  if (name == "oa_bits") return set_size(name, value, o.oa_bits);
  if (name == "lpa2") return set_switch(name, value, o.lpa2);
  if (name == "fwb") return set_switch(name, value, o.fwb);
  if (name == "dbm") return set_switch(name, value, o.dbm);
  if (name == "contiguous") return set_switch(name, value, o.contiguous);
  if (name != "vmid") return no_such_setting(stage2_choice(), name);
  std::uint64_t vmid = 0;
  std::string wrong = set_number(name, value, 0, 0xffff, vmid);
  if (wrong.empty()) o.vmid = static_cast<std::uint16_t>(vmid);
  return wrong;
}

std::string check(const any_format& f) {
  const arch::stage2_options& o = options_of(f);
  const unsigned granule = granule_of(f);
  const char* wrong = granule == 12   ? std::get<arch::stage2_4k>(f).bad_options()
                      : granule == 14 ? std::get<arch::stage2_16k>(f).bad_options()
                                      : std::get<arch::stage2_64k>(f).bad_options();
  if (!wrong) return {};
  return fmt::format("granule={} ipa_bits={} oa_bits={} lpa2={}: {}", size_name(1u << granule), o.ipa_bits, o.oa_bits,
                     switch_text(o.lpa2), wrong);
}

named_texts values(const any_format& f) {
  const arch::stage2_options& o = options_of(f);
  return {{"granule", size_name(std::uint64_t{1} << granule_of(f))},
          {"ipa_bits", std::to_string(o.ipa_bits)},
          {"oa_bits", std::to_string(o.oa_bits)},
          {"lpa2", switch_text(o.lpa2)},
          {"fwb", switch_text(o.fwb)},
          {"dbm", switch_text(o.dbm)},
          {"contiguous", switch_text(o.contiguous)},
          {"vmid", std::to_string(o.vmid)}};
}

std::uint64_t control_register(const any_format& f) {
  if (const auto* four = std::get_if<arch::stage2_4k>(&f)) return four->control_register();
  if (const auto* sixteen = std::get_if<arch::stage2_16k>(&f)) return sixteen->control_register();
  return std::get<arch::stage2_64k>(f).control_register();
}

named_values registers(const any_format& f, arch::table_address root) {
  const std::uint64_t vttbr = granule_of(f) == 12   ? std::get<arch::stage2_4k>(f).root_register(root)
                              : granule_of(f) == 14 ? std::get<arch::stage2_16k>(f).root_register(root)
                                                    : std::get<arch::stage2_64k>(f).root_register(root);
  return {{"vttbr_el2", vttbr}, {"vtcr_el2", control_register(f)}};
}

std::string from_registers(any_format& f, const register_reader& read, arch::table_address& root) {
  std::uint64_t vttbr = 0;
  std::uint64_t vtcr = 0;
  std::string wrong = read("vttbr_el2", vttbr);
  if (wrong.empty()) wrong = read("vtcr_el2", vtcr);
  if (!wrong.empty()) return wrong;
  const auto TG0 = arch::field<15, 14>::get(vtcr);
  if (TG0 == 3) return fmt::format("vtcr_el2 {:#x}: TG0 is 3; allowed: 0, 1 or 2", vtcr);
  constexpr unsigned sizes[] = {32, 36, 40, 42, 44, 48, 52};
  const auto PS = arch::field<18, 16>::get(vtcr);
  if (PS > 6) return fmt::format("vtcr_el2 {:#x}: PS is 7; allowed: 0 to 6", vtcr);
  const auto T0SZ = arch::field<5, 0>::get(vtcr);
  if (T0SZ < 12 || T0SZ > 32) return fmt::format("vtcr_el2 {:#x}: T0SZ is {}; allowed: 12 to 32", vtcr, T0SZ);
  arch::stage2_options o = options_of(f);
  o.ipa_bits = 64 - static_cast<unsigned>(T0SZ);
  o.oa_bits = sizes[PS];
  o.lpa2 = vtcr & arch::bit(32);
  o.dbm = (vtcr & arch::bit(21)) && (vtcr & arch::bit(22));
  o.vmid = static_cast<std::uint16_t>(vttbr >> 48);
  f = with_granule(TG0 == 0 ? 12 : TG0 == 2 ? 14 : 16, o);
  if (wrong = check(f); !wrong.empty()) return fmt::format("vtcr_el2 {:#x}: {}", vtcr, wrong);
  const std::uint64_t start_level = arch::field<7, 6>::mask | arch::bit(33);  // SL0, SL2
  if ((vtcr ^ control_register(f)) & start_level) {
    return fmt::format("vtcr_el2 {:#x}: the start level is not the one with the fewest levels (as in {:#x})", vtcr, control_register(f));
  }
  root = {vttbr & arch::field<47, 1>::mask};
  if (o.oa_bits > 48) root = {(vttbr & arch::field<47, 6>::mask) | arch::field<5, 2>::get(vttbr) << 48};
  const auto shape = std::visit([](const auto& chosen) { return arch::geometry_of(chosen); }, f);
  const std::uint64_t bytes = std::max(std::uint64_t{1} << shape.index_bits[shape.top()] << 3, std::uint64_t{64});
  if (root.byte % bytes == 0) return {};
  return fmt::format("vttbr_el2 {:#x}: the root at {:#x} is not aligned to its size, {:#x}", vttbr, root.byte, bytes);
}

}  // namespace

const format_choice& stage2_choice() {
  static const format_choice choice = {
      arch::stage2_4k::name,
      "granule=4k|16k|64k, ipa_bits=N (32 to 48; to 52 with lpa2=on or granule=64k), oa_bits=N (32, 36, 40, 42, 44, 48; "
      "52 likewise), lpa2=on|off, fwb=on|off, dbm=on|off, contiguous=on|off, vmid=N (0 to 65535) (default: granule=4k "
      "ipa_bits=40 oa_bits=48 vmid=1, the others off)",
      {"normal", "nc", "device"},
      {"L3", "L2", "L1", "L0"},
      "",
      arch::stage2_4k{},
      {"dbm=on"},
      {"dbm=on"},
      set,
      check,
      values,
      registers,
      from_registers};
  return choice;
}

}  // namespace quire::perf

// The C ABI in words: version, statuses and commands.
#include "arch/arm64/stage2_flush.h"
#include "arch/s390/dat_flush.h"
#include "arch/x86/ept_flush.h"
#include "arch/x86/npt.h"
#include "quire/convert.h"
#include "quire/quire.h"

namespace quire::abi {

namespace {

arch::text_line describe_in(std::uint32_t format, const arch::flush_command& c) {
  switch (format) {
    case QUIRE_EPT:
      return describe(arch::ept{}, c);
    case QUIRE_STAGE2_4K:
      return describe(arch::stage2_4k{}, c);
    case QUIRE_STAGE2_16K:
      return describe(arch::stage2_16k{}, c);
    case QUIRE_STAGE2_64K:
      return describe(arch::stage2_64k{}, c);
    case QUIRE_DAT:
      return describe(arch::dat{}, c);
    default:
      return describe(arch::npt{}, c);
  }
}

static_assert(QUIRE_HYPERV_RANGE == static_cast<int>(arch::ept_flush::hyperv_list_word) &&
              QUIRE_TLBI_VMALLS12E1IS == static_cast<int>(arch::stage2_flush::vmalls12e1is) &&
              QUIRE_TLBI_IPAS2E1IS == static_cast<int>(arch::stage2_flush::ipas2e1is) &&
              QUIRE_PURGE_LOCAL == static_cast<int>(arch::dat_flush::purge_local) &&
              QUIRE_IDTE_ASCE == static_cast<int>(arch::dat_flush::idte_asce) &&
              QUIRE_NPT_ASID == static_cast<int>(arch::npt_flush::asid));
static_assert(QUIRE_EPT_UC == static_cast<int>(arch::ept::uc) &&
              QUIRE_EPT_SUB_PAGE_WRITE == static_cast<int>(arch::ept::sub_page_write) &&
              QUIRE_STAGE2_DEVICE == static_cast<int>(arch::stage2_4k::device) &&
              QUIRE_NPT_UC == static_cast<int>(arch::npt::uc));

}  // namespace

}  // namespace quire::abi

using namespace quire;
using namespace quire::abi;

uint32_t quire_version(void) noexcept { return QUIRE_VERSION; }

const char* quire_status_text(int status) noexcept {
  switch (status) {
    case QUIRE_BAD_MACHINE:
      return "the machine is null, stale or forged";
    case QUIRE_BAD_SPACE:
      return "the space is null, stale, forged or of another machine";
    case QUIRE_BAD_POINTER:
      return "a pointer is null or misaligned";
    case QUIRE_BAD_SIZE:
      return "a struct has a size that this library does not know";
    case QUIRE_BAD_OPTION:
      return "there is no such mode, flag or guard";
    case QUIRE_NOT_IN_INTERRUPT:
      return "leave_interrupt without enter_interrupt";
    default:
      break;
  }
  const bool of_runtime = status >= QUIRE_OK && status <= QUIRE_STOPPED;
  return of_runtime ? runtime::status_text(static_cast<runtime::status>(status)) : "unknown status";
}

quire_status quire_describe_command(uint32_t format, const quire_command* command, char* text,
                                    size_t bytes) noexcept {
  if (format > QUIRE_NPT) return QUIRE_BAD_FORMAT;
  if (unusable(command) || unusable(text)) return QUIRE_BAD_POINTER;
  if (bytes == 0) return QUIRE_BAD_RANGE;
  arch::flush_command c{command->op, {}};
  for (unsigned i = 0; i < 4; ++i) c.operand[i] = command->operand[i];
  const arch::text_line line = describe_in(format, c);
  const char* from = line.c_str();
  for (std::size_t left = bytes; left > 1 && *from; --left) *text++ = *from++;
  *text = 0;
  return QUIRE_OK;
}

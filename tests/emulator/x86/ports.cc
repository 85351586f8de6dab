// Input and output of the payload: characters to port 0xe9, sectors from the first ATA disk.
// ATA: command READ SECTOR(S) with a 28-bit address, by the PIO data-in protocol.
#include "tests/emulator/x86/ports.h"

#include "tests/emulator/x86/disk.h"

namespace quire::tests::x86 {
namespace {

constexpr std::uint16_t console = 0xe9;
constexpr std::uint16_t ata_data = 0x1f0, ata_count = 0x1f2, ata_lba_low = 0x1f3, ata_lba_mid = 0x1f4;
constexpr std::uint16_t ata_lba_high = 0x1f5, ata_device = 0x1f6, ata_command = 0x1f7, ata_control = 0x3f6;
constexpr std::uint8_t BSY = 0x80, DRQ = 0x08, ERR = 0x01;
constexpr std::uint8_t nIEN = 0x02, device_lba = 0xe0, read_sectors_command = 0x20;

void out8(std::uint16_t port, std::uint64_t value) {
  asm volatile("outb %b0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

std::uint8_t in8(std::uint16_t port) {
  std::uint8_t value = 0;
  asm volatile("inb %w1, %b0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

void read_one_sector(void* to) {
  std::uint8_t status = 0;
  do {
    status = in8(ata_command);
  } while (status & BSY || !(status & (DRQ | ERR)));
  if (status & ERR) fail("disk error, status", status);
  std::uint64_t words = sector_bytes / 2;
  asm volatile("rep insw" : "+D"(to), "+c"(words) : "d"(ata_data) : "memory");
}

/// Starts reading 1..256 sectors.
void start_reading(std::uint64_t sector, std::uint64_t sectors) {
  out8(ata_control, nIEN);
  out8(ata_device, device_lba | (sector >> 24 & 0xf));
  out8(ata_count, sectors & 0xff);
  out8(ata_lba_low, sector & 0xff);
  out8(ata_lba_mid, sector >> 8 & 0xff);
  out8(ata_lba_high, sector >> 16 & 0xff);
  out8(ata_command, read_sectors_command);
}

}  // namespace

void print(const char* text) {
  for (; *text; ++text) out8(console, static_cast<std::uint8_t>(*text));
}

void print_hex(std::uint64_t value) {
  char text[17] = {};
  char* at = text + 16;
  do {
    *--at = "0123456789abcdef"[value & 0xf];
    value >>= 4;
  } while (value);
  print(at);
}

void stop() {
  for (;;) asm volatile("xchg %%bx, %%bx" : : : "memory");
}

void fail(const char* text, std::uint64_t value) {
  print("\nE ");
  print(text);
  print(" ");
  print_hex(value);
  print("\n");
  stop();
}

void read_disk(std::uint64_t sector, std::uint64_t bytes, void* to) {
  auto* at = static_cast<std::uint8_t*>(to);
  const std::uint64_t end = sector + (bytes + sector_bytes - 1) / sector_bytes;
  while (sector < end) {
    std::uint64_t left = end - sector < 256 ? end - sector : 256;
    start_reading(sector, left);
    for (; left; --left, ++sector) {
      std::uint8_t last[sector_bytes];
      const std::uint64_t piece = bytes < sector_bytes ? bytes : sector_bytes;
      read_one_sector(piece < sector_bytes ? last : at);
      if (piece < sector_bytes)
        for (std::uint64_t i = 0; i < piece; ++i) at[i] = last[i];
      at += piece;
      bytes -= piece;
    }
  }
}

}  // namespace quire::tests::x86

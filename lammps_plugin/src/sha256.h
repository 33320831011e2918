/* SPDX-License-Identifier: GPL-2.0-only

   SHA-256 (FIPS 180-4): the checksum of deployed files. libtorch brings none. */

#ifndef TPAINN_SHA256_H
#define TPAINN_SHA256_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace tpainn {

class Sha256 {
public:
  void update(const void *data, size_t size);
  std::string hex(); // of all that was given; ends the sum

private:
  void block(const unsigned char *bytes);

  std::array<uint32_t, 8> m_state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> m_rest{}; // what does not fill a block yet
  uint64_t m_size = 0;
};

} // namespace tpainn

#endif

/* XXH3 and CRC-32C (table-driven, or the SSE4.2 instruction where the CPU has it); see hash.h. */
#include "base/hash.h"

#include "base/check.h"

#include <pthread.h>
#include <xxhash.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

uint64_t hash64(str s)
{
    return XXH3_64bits(s.n ? s.p : "", s.n);
}

uint64_t hash_xxh64(str s)
{
    return XXH64(s.n ? s.p : "", s.n, 0);
}

uint64_t hash64_seed(str s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.n ? s.p : "", s.n, seed);
}

hash128 hash128_seed(str s, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(s.n ? s.p : "", s.n, seed);
    return (hash128){ h.low64, h.high64 };
}

struct hash128_state *hash128_begin(void)
{
    XXH3_state_t *x = XXH3_createState();
    ASSERT(x);
    XXH3_128bits_reset(x);
    return (struct hash128_state *)x;
}

void hash128_add(struct hash128_state *h, str piece)
{
    if (piece.n)
        XXH3_128bits_update((XXH3_state_t *)h, piece.p, piece.n);
}

hash128 hash128_end(struct hash128_state *h)
{
    XXH128_hash_t x = XXH3_128bits_digest((XXH3_state_t *)h);
    XXH3_freeState((XXH3_state_t *)h);
    return (hash128){ x.low64, x.high64 };
}

static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_table_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        crc_table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (uint32_t i = 0; i < 256; i++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 0xff];
}

static uint32_t crc32c_table(uint32_t crc, const char *p, size_t n)
{
    pthread_once(&crc_once, crc_table_init);
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + 4, 4);
        a ^= crc;
        crc = crc_table[7][a & 0xff] ^ crc_table[6][a >> 8 & 0xff] ^ crc_table[5][a >> 16 & 0xff] ^
              crc_table[4][a >> 24] ^ crc_table[3][b & 0xff] ^ crc_table[2][b >> 8 & 0xff] ^
              crc_table[1][b >> 16 & 0xff] ^ crc_table[0][b >> 24];
    }
    while (n--)
        crc = crc >> 8 ^ crc_table[0][(crc ^ (uint8_t)*p++) & 0xff];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse(uint32_t crc, const char *p, size_t n)
{
    uint64_t c = crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = _mm_crc32_u64(c, v);
    }
    while (n--)
        c = _mm_crc32_u8((uint32_t)c, (uint8_t)*p++);
    return (uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t crc, str s)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse(crc, s.p, s.n);
#endif
    return ~crc32c_table(crc, s.p, s.n);
}

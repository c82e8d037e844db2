/* Hashing and checksums: XXH3 (64 and 128 bit, seeded) and CRC-32C. */
#ifndef VANE_BASE_HASH_H
#define VANE_BASE_HASH_H

#include "base/str.h"

typedef struct hash128 {
    uint64_t lo, hi;
} hash128;

uint64_t hash64(str s);
uint64_t hash64_seed(str s, uint64_t seed);
uint64_t hash_xxh64(str s); /* the older XXH64, seed 0: where others have chosen it */
hash128 hash128_seed(str s, uint64_t seed);
/* hash128_seed(s, 0) over pieces. */
struct hash128_state;
struct hash128_state *hash128_begin(void);
void hash128_add(struct hash128_state *h, str piece);
hash128 hash128_end(struct hash128_state *h); /* frees it */
uint32_t crc32c(uint32_t crc, str s);         /* start with 0; continues over pieces */
static inline uint64_t hash_u64(uint64_t x)   /* splitmix64 finaliser */
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}
static inline bool hash128_eq(hash128 a, hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

#endif

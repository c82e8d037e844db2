/* What the codec files share. */
#ifndef VANE_STORE_CODEC_INT_H
#define VANE_STORE_CODEC_INT_H

#include "base/rd.h"
#include "store/codec.h"

enum { CODEC_BLOCK = 128 };

/* One pfor block of n <= CODEC_BLOCK values. */
void codec_pfor_block(struct buf *out, const uint64_t *v, size_t n);
size_t codec_pfor_block_bytes(const uint64_t *v, size_t n);
bool codec_pfor_block_read(struct rd *r, size_t n, uint64_t out[CODEC_BLOCK]); /* out past n: anything */
bool codec_pfor_block_skip(struct rd *r, size_t n);

/* int64 column inside a longer string. */
bool codec_i64_read(struct rd *r, size_t n, int64_t *out);
bool codec_i64_skip_rd(struct rd *r, size_t n);

#endif

/* Column codecs (docs/format/codec.md): exact, self-describing byte strings for arrays of int64, doubles, timestamps
 * and strings. Encoders choose the smallest of their forms and append to a buf; decoders take the count from
 * outside, check every bound, and say how many bytes they used, so that columns can follow each other in a page.
 *
 *   int64     const, delta-const, FOR, delta, delta of delta (bit packed in blocks of 128 with patched
 *             exceptions), sparse (few values differ from the most frequent)
 *   double    exact decimal (m / 10^e or m * 10^-e) as int64 plus exceptions (NaN payloads, -0.0, stale markers and
 *             whatever is no decimal), or XOR against the previous value, or raw bits. Bit-exact always.
 *   strings   sorted: front coded in blocks of 16 with random access; any order: lengths and bytes
 *
 * A constant int64 or double column takes 1 to 4 bytes where the value is small (below 2^20 in units of its last digit),
 * and never more than 11. Decoders read only inside `in`, write only n values. Thread-safe (no state). */
#ifndef VANE_STORE_CODEC_H
#define VANE_STORE_CODEC_H

#include "base/buf.h"

#define CODEC_VALUES_MAX (1u << 24) /* per column; encoders assert, decoders give ERR_CORRUPT */

/* ---- int64 and uint64 ---- */
void codec_i64_encode(struct buf *out, const int64_t *v, size_t n);
/* n from outside; n = 0 uses 0 bytes. ret_used may be NULL. ERR_CORRUPT. */
enum err codec_i64_decode(str in, size_t n, int64_t *ret_v, size_t *ret_used) MUST_CHECK;
/* The value if the column is stored as a constant (nothing is decoded). */
bool codec_i64_const(str in, size_t n, int64_t *ret_v);
/* Length of an encoded column without decoding it: ERR_CORRUPT when it runs past `in`. */
enum err codec_i64_skip(str in, size_t n, size_t *ret_used) MUST_CHECK;
/* The same for 32-bit ids and offsets. Decoding a value above 32 bits is ERR_CORRUPT. */
void codec_u32_encode(struct buf *out, const uint32_t *v, size_t n);
enum err codec_u32_decode(str in, size_t n, uint32_t *ret_v, size_t *ret_used) MUST_CHECK;

/* ---- timestamps: ascending (not required), mostly regular ---- */
void codec_ts_encode(struct buf *out, const int64_t *ts, size_t n);
enum err codec_ts_decode(str in, size_t n, int64_t *ret_ts, size_t *ret_used) MUST_CHECK;

/* ---- doubles ---- */
void codec_f64_encode(struct buf *out, const double *v, size_t n);
enum err codec_f64_decode(str in, size_t n, double *ret_v, size_t *ret_used) MUST_CHECK;
bool codec_f64_const(str in, size_t n, double *ret_v); /* all n values have these very bits */
enum err codec_f64_skip(str in, size_t n, size_t *ret_used) MUST_CHECK;

/* ---- string dictionaries ---- */
/* Sorted (str_cmp order, duplicates allowed), front coded. */
void codec_dict_encode(struct buf *out, const str *sorted, size_t n);
/* A parsed dictionary over borrowed bytes. Everything is validated here except the bytes of each entry. */
struct codec_dict {
    str data;            /* the entries */
    const char *offsets; /* u32 of every 16th entry, unaligned */
    uint32_t n;
};
enum err codec_dict_open(str in, struct codec_dict *ret, size_t *ret_used) MUST_CHECK;
/* Entry i, assembled into scratch (appended; the result points there, valid until scratch changes, unless it is
 * stored whole). ERR_CORRUPT, ERR_NOT_FOUND. */
enum err codec_dict_get(const struct codec_dict *d, uint32_t i, struct buf *scratch, str *ret) MUST_CHECK;
/* Index of the first entry >= key (d->n if none); *ret_equal says whether it is key. Logarithmic. */
enum err codec_dict_find(const struct codec_dict *d, str key, struct buf *scratch, uint32_t *ret_i,
                         bool *ret_equal) MUST_CHECK;
/* All entries into arena memory: ret[n]. */
enum err codec_dict_all(const struct codec_dict *d, struct arena *a, str **ret) MUST_CHECK;

/* Any order. */
void codec_strs_encode(struct buf *out, const str *v, size_t n);
/* ret_v[n] borrow from in. */
enum err codec_strs_decode(str in, size_t n, str *ret_v, size_t *ret_used) MUST_CHECK;

/* ---- building blocks, for signals that lay out their own columns ---- */
/* Pack n <= 128 values of `width` bits (0..64; higher bits must be clear) into ceil(n * width / 8) bytes. */
void codec_bits_pack(struct buf *out, const uint64_t *v, size_t n, unsigned width);
/* in.n must be >= ceil(n * width / 8); reads nothing beyond. */
void codec_bits_unpack(const char *in, size_t n, unsigned width, uint64_t *ret_v);
static inline size_t codec_bits_bytes(size_t n, unsigned width)
{
    return (n * width + 7) / 8;
}
/* Unsigned values with patched exceptions, in blocks of 128. */
void codec_pfor_encode(struct buf *out, const uint64_t *v, size_t n);
enum err codec_pfor_decode(str in, size_t n, uint64_t *ret_v, size_t *ret_used) MUST_CHECK;

#endif

/* Whole bodies: decompression with an output limit (bombs are refused before they cost memory) and gzip for
 * answers. Content-Encoding names: gzip, x-gzip, deflate, zstd, snappy (block format), identity. */
#ifndef VANE_WIRE_COMPRESS_H
#define VANE_WIRE_COMPRESS_H

#include "base/buf.h"

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_DEFLATE, CODING_ZSTD, CODING_SNAPPY };

/* One Content-Encoding value; empty is identity. false: unknown (answer 415). */
bool coding_parse(str content_encoding, enum coding *ret);
const char *coding_name(enum coding c);

/* Append the decompressed body to out. gzip: several members are joined; deflate: zlib-wrapped or raw; zstd:
 * several frames. ERR_CORRUPT: not that format, truncated, checksum. ERR_LIMIT: more than bytes_max. On error out
 * is as it was. IDENTITY copies. */
enum err decompress(enum coding c, str in, size_t bytes_max, struct buf *out, struct err_text *reterr) MUST_CHECK;

/* Append a gzip member. level 1..12 (1 for answers). */
enum err gzip_compress(str in, int level, struct buf *out) MUST_CHECK;
/* A snappy block straight into a, without the copy through a buffer. Errors as decompress(). */
enum err snappy_unpack(struct arena *a, str in, size_t bytes_max, str *ret, struct err_text *reterr) MUST_CHECK;
/* Append the snappy block of in. */
void snappy_pack(str in, struct buf *out);
/* Does an Accept-Encoding header allow gzip (q > 0)? */
bool accepts_gzip(str accept_encoding);

#endif

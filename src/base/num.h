/* Numbers and durations as text, as the reference implementations (Go) read and write them. */
#ifndef VANE_BASE_NUM_H
#define VANE_BASE_NUM_H

#include "base/buf.h"

#define NUM_TEXT_MAX 400 /* the longest output of num_format_* (1.8e308 in plain digits) */

/* Go strconv.ParseFloat(s, 64) of a whole slice: decimal, hex floats, "NaN", "Inf", "+Inf", "infinity"
 * (any case), underscores refused. Out of range gives ±Inf and false. */
bool num_parse_f64(str s, double *ret);
/* Shortest text that reads back the same, as Go writes it. NaN, +Inf, -Inf. Return the length, no NUL.
 *   f  strconv 'f' -1: plain digits (sample values of the JSON API)
 *   g  strconv 'g' -1 and fmt %v: exponent below 1e-4 and from 1e+06 up (text exposition, expressions, templates)
 *   json  encoding/json: exponent below 1e-6 and from 1e+21 up, negative ones without a leading zero (1e-7) */
size_t num_format_f(char out[NUM_TEXT_MAX], double v);
size_t num_format_g(char out[NUM_TEXT_MAX], double v);
size_t num_format_json(char out[NUM_TEXT_MAX], double v);
void buf_f64_f(struct buf *b, double v);
void buf_f64_g(struct buf *b, double v);
void buf_f64_e(struct buf *b, double v); /* strconv 'e' -1: 1e+00 */
void buf_f64_json(struct buf *b, double v);

/* Prometheus durations: "1y2w3d4h5m6s7ms", units in this order, each once, "0" allowed. Milliseconds. */
bool num_parse_duration(str s, int64_t *ret_ms);
void buf_duration(struct buf *b, int64_t ms); /* "1h30m", "0s" */
/* "512MB", "1GiB", "100" (bytes). KB = KiB = 1024, as Prometheus' units.Base2Bytes. */
bool num_parse_bytes(str s, uint64_t *ret);
/* RFC 3339 ("2026-11-21T10:00:00Z", fraction, offsets) or Unix seconds with fraction -> milliseconds. */
bool num_parse_time(str s, int64_t *ret_ms);
void buf_rfc3339_ms(struct buf *b, int64_t ts_ms); /* "2026-11-21T10:00:00.123Z" */

#endif

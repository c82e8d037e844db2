/* JSON: the one streaming writer, and the pull reader for what is hot (OTLP/JSON, Loki push, API input).
 * Control-plane documents that need a tree use jansson; one file may include both headers. RFC 8259. */
#ifndef VANE_BASE_JSON_H
#define VANE_BASE_JSON_H

#include "base/buf.h"

/* ---- writer: commas and nesting are kept by the writer; failure is the buffer's (sticky) ---- */
#define JSON_DEPTH_MAX 64
struct json_out {
    struct buf *b;
    unsigned depth;
    bool comma[JSON_DEPTH_MAX + 1];
    bool after_key;
};
struct json_out json_out_init(struct buf *b);
void json_obj(struct json_out *j);
void json_obj_end(struct json_out *j);
void json_arr(struct json_out *j);
void json_arr_end(struct json_out *j);
void json_key(struct json_out *j, str key);
void json_str(struct json_out *j,
              str s); /* invalid UTF-8 becomes U+FFFD; <, >, & and U+2028/9 are escaped as Go does */
void json_i64(struct json_out *j, int64_t v);
void json_u64(struct json_out *j, uint64_t v);
void json_f64(struct json_out *j, double v);          /* a JSON number; NaN and ±Inf become null */
void json_f64_str(struct json_out *j, double v);      /* "1.5", "NaN", "+Inf": Prometheus sample values */
void json_ms_as_s(struct json_out *j, int64_t ts_ms); /* 1435781430.781: Prometheus times */
/* Pairs [1435781430.781,"1.5"] of many series. Series of one answer mostly have the same times, and values repeat: their
 * texts are kept and copied. at: the pair's number in its array. Zeroed: empty. */
enum { JSON_SAMPLES_TIMES = 512, JSON_SAMPLES_TEXT = 32 };
struct json_samples {
    struct {
        int64_t ts_ms;
        char text[24];
    } times[JSON_SAMPLES_TIMES];
    uint8_t times_n[JSON_SAMPLES_TIMES]; /* bytes of text, 0: none */
    uint64_t bits;                       /* the value written last */
    char value[JSON_SAMPLES_TEXT];
    size_t value_n; /* 0: none */
};
void json_sample(struct json_out *j, struct json_samples *seen, size_t at, int64_t ts_ms, double v);
void json_bool(struct json_out *j, bool v);
void json_put_null(struct json_out *j);
void json_raw(struct json_out *j, str json); /* a finished JSON value */
/* "key": value */
#define json_kstr(j, k, v)  (json_key((j), STR(k)), json_str((j), (v)))
#define json_ki64(j, k, v)  (json_key((j), STR(k)), json_i64((j), (v)))
#define json_ku64(j, k, v)  (json_key((j), STR(k)), json_u64((j), (v)))
#define json_kf64(j, k, v)  (json_key((j), STR(k)), json_f64((j), (v)))
#define json_kbool(j, k, v) (json_key((j), STR(k)), json_bool((j), (v)))
void json_escape(struct buf *b, str s); /* with the quotes */

/* ---- pull reader: one token at a time, zero copy where no escape occurs ----
 * Validates UTF-8, surrogate pairs, numbers, nesting (<= JSON_DEPTH_MAX) and that nothing follows the value. */
enum json_tok {
    JSON_TOK_ERR,
    JSON_TOK_END,
    JSON_TOK_OBJ,
    JSON_TOK_OBJ_END,
    JSON_TOK_ARR,
    JSON_TOK_ARR_END,
    JSON_TOK_KEY,
    JSON_TOK_STR,
    JSON_TOK_NUM,
    JSON_TOK_TRUE,
    JSON_TOK_FALSE,
    JSON_TOK_NULL,
};
struct json_in {
    const char *start, *p, *end;
    struct arena *a;   /* unescaped strings are made here */
    str text;          /* KEY, STR: decoded; NUM: its digits */
    enum json_tok tok; /* the token last returned */
    unsigned depth;
    uint8_t stack[JSON_DEPTH_MAX + 1];
    uint8_t state;
    const char *error; /* JSON_TOK_ERR: what; position is p - start */
};
void json_in_init(struct json_in *j, struct arena *a, str text);
enum json_tok json_next(struct json_in *j);
/* Having just received a value's first token: pass over the whole value. */
bool json_skip(struct json_in *j);
/* Fill reterr from a JSON_TOK_ERR ("line 3, column 7: ..."), return ERR_PARSE. */
enum err json_fail(const struct json_in *j, struct err_text *reterr);

#endif

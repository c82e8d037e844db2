/* libvane's small tools: allocation that is counted, the growing buffer, numbers as text without a locale, UTF-8, the
 * protobuf writer, clocks, random numbers, events and threads. sdk_int.h describes each. */
#include "sdk_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* ---- memory ---- */

_Atomic uint64_t sdk_alloc_fail_at;

static bool alloc_fails_now(void)
{
    if (SDK_LIKELY(atomic_load_explicit(&sdk_alloc_fail_at, memory_order_relaxed) == 0))
        return false;
    return atomic_fetch_sub_explicit(&sdk_alloc_fail_at, 1, memory_order_relaxed) == 1;
}

static SDK_COLD void *alloc_failed(size_t n)
{
    sdk_count(SDK_ALLOC_FAILURES, 1);
    sdk_diag(VANE_E_NOMEM, "out of memory: %zu bytes; what needed them is dropped", n);
    return NULL;
}

SDK_COLD void *sdk_alloc(size_t n)
{
    void *p = alloc_fails_now() ? NULL : calloc(1, n ? n : 1);
    if (!p)
        return alloc_failed(n);
    sdk_count(SDK_MEMORY_BYTES, n);
    return p;
}

SDK_COLD void *sdk_grow(void *p, size_t old_n, size_t n)
{
    void *q = alloc_fails_now() ? NULL : realloc(p, n ? n : 1);
    if (!q)
        return alloc_failed(n);
    sdk_count(SDK_MEMORY_BYTES, n - old_n); /* modulo 2^64: shrinking subtracts */
    return q;
}

SDK_COLD void sdk_free(void *p, size_t n)
{
    if (!p)
        return;
    free(p);
    sdk_count(SDK_MEMORY_BYTES, (uint64_t)0 - n);
}

SDK_COLD char *sdk_dup(const char *s)
{
    size_t n = s ? strlen(s) : 0;
    char *p = sdk_alloc(n + 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

SDK_COLD void sdk_free_str(char *s)
{
    if (s)
        sdk_free(s, strlen(s) + 1);
}

/* ---- buffer ---- */

SDK_COLD void sdk_buf_init(struct sdk_buf *b, size_t max)
{
    *b = (struct sdk_buf){ .max = max };
}

SDK_COLD void sdk_buf_free(struct sdk_buf *b)
{
    sdk_free(b->p, b->cap);
    *b = (struct sdk_buf){ .max = b->max };
}

SDK_COLD bool sdk_buf_room_slow(struct sdk_buf *b, size_t n)
{
    if (b->failed)
        return false;
    if (b->flush && b->n) {
        b->failed = b->flush(b->flush_ctx, b->p, b->n) != 0;
        b->n = 0;
        if (b->failed)
            return false;
        if (b->cap >= n)
            return true;
    }
    if (n > b->max - b->n) {
        b->failed = true;
        return false;
    }
    size_t want = b->cap ? b->cap * 2 : 4096;
    while (want < b->n + n)
        want *= 2;
    want = want > b->max ? b->max : want;
    char *p = sdk_grow(b->p, b->cap, want);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = want;
    return true;
}

SDK_COLD void sdk_puts(struct sdk_buf *b, const char *s)
{
    sdk_put(b, s, strlen(s));
}

SDK_COLD void sdk_putf(struct sdk_buf *b, const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (n > 0)
        sdk_put(b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* ---- numbers ---- */

#define EACH(byte)   ((uint64_t)0x0101010101010101u * (byte))
#define EACH16(byte) ((uint64_t)0x0001000100010001u * (byte))

static const char two_digits[201] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                    "8081828384858687888990919293949596979899";

size_t sdk_fmt_u64(char buf[24], uint64_t v)
{
    char tmp[20];
    size_t at = sizeof tmp;
    while (v >= 100) {
        at -= 2;
        memcpy(tmp + at, two_digits + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10) {
        at -= 2;
        memcpy(tmp + at, two_digits + v * 2, 2);
    } else {
        tmp[--at] = (char)('0' + v);
    }
    memcpy(buf, tmp + at, sizeof tmp - at);
    return sizeof tmp - at;
}

/* Digits of m with `decimals` of them behind the point. */
static size_t fmt_decimal(char *buf, uint64_t m, unsigned decimals)
{
    char d[24];
    size_t n = sdk_fmt_u64(d, m), at = 0;
    if (!decimals) {
        memcpy(buf, d, n);
        return n;
    }
    if (n <= decimals) {
        buf[at++] = '0';
        buf[at++] = '.';
        for (size_t i = n; i < decimals; i++)
            buf[at++] = '0';
        memcpy(buf + at, d, n);
        return at + n;
    }
    memcpy(buf, d, n - decimals);
    buf[n - decimals] = '.';
    memcpy(buf + n - decimals + 1, d + n - decimals, decimals);
    return n + 1;
}

SDK_COLD bool sdk_parse_f64(const char *s, size_t n, double *ret)
{
    char text[64];
    if (!n || n >= sizeof text)
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    if (strspn(text, "0123456789+-.eE") != n)
        return false;
    /* strtod() follows the locale: ask it for its point. */
    char probe[8];
    snprintf(probe, sizeof probe, "%.1f", 0.5);
    char *point = strchr(text, '.');
    if (point)
        *point = probe[1];
    char *end;
    double v = strtod(text, &end);
    if (*end || end == text || !isfinite(v))
        return false;
    *ret = v;
    return true;
}

size_t sdk_fmt_f64(char buf[32], double v)
{
    if (isnan(v)) {
        memcpy(buf, "NaN", 3);
        return 3;
    }
    if (isinf(v)) {
        memcpy(buf, v > 0 ? "+Inf" : "-Inf", 4);
        return 4;
    }
    size_t at = 0;
    if (signbit(v)) {
        buf[at++] = '-';
        v = -v;
    }
    /* A decimal with few digits: when m / 10^k is v, both exact in a double, then m and k are its shortest digits. */
    static const double p10[] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15
    };
    if (v == 0 || (v >= 1e-5 && v < 9007199254740992.0)) {
        for (unsigned k = 0; k < SDK_COUNT_OF(p10); k++) {
            double m = v * p10[k];
            if (m >= 9007199254740992.0)
                break;
            uint64_t i = (uint64_t)(m + 0.5);
            if ((double)i / p10[k] == v)
                return at + fmt_decimal(buf + at, i, k);
        }
    }
    char text[40];
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    for (int i = 0; i < n && at < 31; i++) { /* whatever the locale's point is, ours is '.' */
        char c = text[i];
        bool plain = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == 'e';
        if (plain)
            buf[at++] = c;
        else if (buf[at - (at > 0)] != '.')
            buf[at++] = '.';
    }
    return at;
}

void sdk_put_u64(struct sdk_buf *b, uint64_t v)
{
    if (sdk_buf_room(b, 24))
        b->n += sdk_fmt_u64(b->p + b->n, v);
}

SDK_COLD void sdk_put_i64(struct sdk_buf *b, int64_t v)
{
    if (v < 0)
        sdk_putc(b, '-');
    sdk_put_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void sdk_put_f64(struct sdk_buf *b, double v)
{
    if (sdk_buf_room(b, 32))
        b->n += sdk_fmt_f64(b->p + b->n, v);
}

/* Four bytes at a time: each becomes two nibbles in bytes of their own, to which '0' or 'a' - 10 is added. */
void sdk_hex(char *dst, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t w = (uint64_t)p[i + 3] << 48 | (uint64_t)p[i + 2] << 32 | (uint64_t)p[i + 1] << 16 | p[i];
        w = (w >> 4 & EACH16(0x0F)) | (w & EACH16(0x0F)) << 8;
        w += EACH('0') + ((w + EACH(6)) >> 4 & EACH(1)) * ('a' - 10 - '0');
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        w = __builtin_bswap64(w);
#endif
        memcpy(dst + 2 * i, &w, 8);
    }
}

SDK_COLD void sdk_put_hex(struct sdk_buf *b, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    if (!sdk_buf_room(b, 2 * n))
        return;
    size_t fours = n & ~(size_t)3;
    sdk_hex(b->p + b->n, p, fours);
    b->n += 2 * fours;
    for (size_t i = fours; i < n; i++) {
        b->p[b->n++] = digits[p[i] >> 4];
        b->p[b->n++] = digits[p[i] & 15];
    }
}

SDK_COLD void sdk_put_rfc3339(struct sdk_buf *b, uint64_t unix_ns)
{
    /* Days to civil date: the algorithm of H. Hinnant, years from March. */
    uint64_t s = unix_ns / 1000000000u, us = unix_ns % 1000000000u / 1000;
    uint64_t days = s / 86400 + 719468, era = days / 146097, doe = days - era * 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned day = (unsigned)(doy - (153 * mp + 2) / 5 + 1), month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    unsigned year = (unsigned)(yoe + era * 400 + (month <= 2));
    unsigned sod = (unsigned)(s % 86400);
    char t[28];
    unsigned parts[] = { year / 100, year % 100, month, day, sod / 3600, sod / 60 % 60, sod % 60 };
    static const uint8_t at[] = { 0, 2, 5, 8, 11, 14, 17 };
    memcpy(t, "0000-00-00T00:00:00.000000Z", 27);
    for (size_t i = 0; i < SDK_COUNT_OF(parts); i++)
        memcpy(t + at[i], two_digits + parts[i] % 100 * 2, 2);
    for (unsigned i = 0, v = (unsigned)us; i < 3; i++, v /= 100)
        memcpy(t + 24 - 2 * i, two_digits + v % 100 * 2, 2);
    sdk_put(b, t, 27);
}

/* ---- text ---- */

/* Length of the character that begins at p, 0 when it is not valid. */
static size_t utf8_len(const uint8_t *p, size_t n)
{
    static const uint8_t tail_min_e0 = 0xA0, tail_max_ed = 0x9F, tail_min_f0 = 0x90, tail_max_f4 = 0x8F;
    uint8_t c = p[0];
    if (c < 0x80)
        return c ? 1 : 0;
    size_t len = c >= 0xC2 && c <= 0xDF ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
    if (!len || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((c == 0xE0 && p[1] < tail_min_e0) || (c == 0xED && p[1] > tail_max_ed) || (c == 0xF0 && p[1] < tail_min_f0) ||
        (c == 0xF4 && p[1] > tail_max_f4))
        return 0;
    return len;
}

/* Eight bytes at a time. A subtraction borrows from the next byte only when this one is hit. */
static inline uint64_t eight(const char *s)
{
    uint64_t w;
    memcpy(&w, s, 8);
    return w;
}

bool sdk_text_valid(const char *s, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        if (n - i >= 8 && !(((eight(s + i) - EACH(1)) | eight(s + i)) & EACH(0x80))) {
            len = 8;
            continue;
        }
        len = (uint8_t)(s[i] - 1) < 0x7F ? 1 : utf8_len((const uint8_t *)s + i, n - i);
        if (!len)
            return false;
    }
    return true;
}

/* How many bytes from here stand for themselves in a JSON string, characters beyond ASCII left aside. */
static inline bool eight_plain(const char *s)
{
    uint64_t w = eight(s), hit = w | (w - EACH(0x20)) | ((w ^ EACH('"')) - EACH(1)) | ((w ^ EACH('\\')) - EACH(1));
    return !(hit & EACH(0x80));
}

static inline size_t json_plain(const char *s, size_t n)
{
    size_t i = 0;
    while (n - i >= 8 && eight_plain(s + i))
        i += 8;
    if (n >= 8 && n - i < 8 && eight_plain(s + n - 8))
        return n;
    while (i < n && (uint8_t)(s[i] - 0x20) < 0x60 && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

SDK_COLD size_t sdk_text(char *dst, size_t cap, const char *s, size_t n)
{
    if (!s)
        return 0;
    if (n == SIZE_MAX)
        n = strnlen(s, cap + 1);
    size_t out = 0;
    bool replaced = false;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_len((const uint8_t *)s + i, n - i), put = len ? len : 3;
        if (put > cap - out) {
            sdk_count(SDK_CUT_STRINGS, 1);
            break;
        }
        if (len) {
            memcpy(dst + out, s + i, len);
        } else {
            memcpy(dst + out, "\xEF\xBF\xBD", 3);
            replaced = true;
        }
        out += put;
        i += len ? len : 1;
    }
    if (replaced)
        sdk_count(SDK_REPLACED_STRINGS, 1);
    return out;
}

static SDK_COLD void put_escaped(struct sdk_buf *b, const char *s, size_t n)
{
    size_t plain = 0;
    for (size_t i = 0; i < n;) {
        uint8_t c = (uint8_t)s[i];
        size_t len = c >= 0x80 ? utf8_len((const uint8_t *)s + i, n - i) : 1;
        if (len && c >= 0x20 && c != '"' && c != '\\') {
            i += len;
            continue;
        }
        sdk_put(b, s + plain, i - plain);
        if (!len)
            SDK_PUTS(b, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            sdk_putc(b, '\\'), sdk_putc(b, (char)c);
        else if (c == '\n')
            SDK_PUTS(b, "\\n");
        else if (c == '\r')
            SDK_PUTS(b, "\\r");
        else if (c == '\t')
            SDK_PUTS(b, "\\t");
        else
            SDK_PUTS(b, "\\u00"), sdk_put_hex(b, &c, 1);
        plain = ++i;
    }
    sdk_put(b, s + plain, n - plain);
}

void sdk_put_json_str(struct sdk_buf *b, const char *s, size_t n)
{
    size_t plain = json_plain(s, n);
    if (!sdk_buf_room(b, plain + 2))
        return;
    char *p = b->p + b->n;
    *p = '"';
    if (plain)
        memcpy(p + 1, s, plain);
    b->n += plain + 1;
    if (SDK_UNLIKELY(plain < n)) {
        b->odd = true;
        put_escaped(b, s + plain, n - plain);
    }
    sdk_putc(b, '"');
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Multiply and fold, 16 bytes a round. Not for untrusted tables that must resist flooding: ours are capped. */
uint64_t sdk_hash(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t h = 0x9E3779B97F4A7C15u ^ n, a, b;
    while (n > 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = mix(a ^ h, b ^ 0xE7037ED1A0B428DBu);
        p += 16;
        n -= 16;
    }
    a = b = 0;
    if (n >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
    } else if (n >= 4) {
        uint32_t lo, hi;
        memcpy(&lo, p, 4);
        memcpy(&hi, p + n - 4, 4);
        a = lo;
        b = hi;
    } else if (n) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    }
    h = mix(a ^ h ^ 0x8EBC6AF09C88C6E3u, b ^ 0x589965CC75374CC3u);
    return h ^ h >> 29;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

SDK_COLD static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    size_t n = strlen(s);
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        s[--n] = 0;
    return s;
}

SDK_COLD bool sdk_pairs_next(char **rest, char **ret_key, char **ret_value, bool *ret_bad)
{
    while (*rest && **rest) {
        char *item = *rest, *comma = strchr(item, ',');
        *rest = comma ? comma + 1 : item + strlen(item);
        if (comma)
            *comma = 0;
        item = trim(item);
        if (!*item)
            continue;
        char *eq = strchr(item, '=');
        if (!eq || eq == item) {
            *ret_bad = true;
            continue;
        }
        *eq = 0;
        char *key = trim(item), *value = trim(eq + 1), *out = value;
        bool bad = !*key;
        for (char *in = value; *in; in++) {
            if (*in != '%') {
                *out++ = *in;
                continue;
            }
            int hi = hex_value(in[1]), lo = hi >= 0 ? hex_value(in[2]) : -1;
            if (lo < 0 || hi * 16 + lo == 0) {
                bad = true;
                break;
            }
            *out++ = (char)(hi * 16 + lo);
            in += 2;
        }
        *out = 0;
        if (bad) {
            *ret_bad = true;
            continue;
        }
        *ret_key = key;
        *ret_value = value;
        return true;
    }
    return false;
}

/* ---- protobuf ---- */

void sdk_pb_varint(struct sdk_buf *b, uint64_t v)
{
    if (!sdk_buf_room(b, 10))
        return;
    for (; v >= 0x80; v >>= 7)
        b->p[b->n++] = (char)(v | 0x80);
    b->p[b->n++] = (char)v;
}

void sdk_pb_u64(struct sdk_buf *b, unsigned field, uint64_t v)
{
    sdk_pb_tag(b, field, 0);
    sdk_pb_varint(b, v);
}

SDK_COLD void sdk_pb_s64(struct sdk_buf *b, unsigned field, int64_t v)
{
    sdk_pb_u64(b, field, (uint64_t)v << 1 ^ (uint64_t)(v < 0 ? -1 : 0));
}

SDK_COLD void sdk_pb_fixed64(struct sdk_buf *b, unsigned field, uint64_t v)
{
    sdk_pb_tag(b, field, 1);
    if (!sdk_buf_room(b, 8))
        return;
    for (int i = 0; i < 8; i++, v >>= 8)
        b->p[b->n++] = (char)v;
}

SDK_COLD void sdk_pb_f64(struct sdk_buf *b, unsigned field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    sdk_pb_fixed64(b, field, bits);
}

void sdk_pb_bytes(struct sdk_buf *b, unsigned field, const void *p, size_t n)
{
    sdk_pb_tag(b, field, 2);
    sdk_pb_varint(b, n);
    sdk_put(b, p, n);
}

SDK_COLD void sdk_pb_str(struct sdk_buf *b, unsigned field, const char *s)
{
    sdk_pb_bytes(b, field, s, strlen(s));
}

size_t sdk_pb_begin(struct sdk_buf *b, unsigned field)
{
    sdk_pb_tag(b, field, 2);
    sdk_put(b, "\0\0\0\0", 4);
    return b->n;
}

void sdk_pb_end(struct sdk_buf *b, size_t mark)
{
    if (b->failed)
        return;
    size_t n = b->n - mark;
    if (n >= (size_t)1 << 28) {
        b->failed = true;
        return;
    }
    for (int i = 0; i < 4; i++, n >>= 7)
        b->p[mark - 4 + (size_t)i] = (char)((n & 0x7F) | (i < 3 ? 0x80 : 0));
}

/* ---- clocks and random numbers ---- */

_Atomic int64_t sdk_clock_offset_ns;

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t clock_offset(void)
{
    return (uint64_t)atomic_load_explicit(&sdk_clock_offset_ns, memory_order_relaxed);
}

uint64_t sdk_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t sdk_unix_ns(void)
{
    return clock_ns(CLOCK_REALTIME) + clock_offset();
}

uint64_t sdk_unix_ms_coarse(void)
{
    return (clock_ns(CLOCK_REALTIME_COARSE) + clock_offset()) / 1000000u;
}

/* Reading the processor's counter costs half of clock_gettime(), which reads it too. Time is that of an anchor, a pair of
 * both, plus what the counter has moved since, by a rate measured from anchor to anchor. Anchors are renewed after 10 ms,
 * then at longer and longer distances up to a second, so that the error of a pair (some 30 ns) grows by GROWS at most.
 * Only where the kernel itself trusts the counter for its clock. A machine that was suspended or moved gets a new anchor;
 * when the rate is another one again and again, the clock is used for good. */
enum { GROWS = 8, STRIKES_MAX = 3, RATE_BITS = 30 };
#define FIRST_NS 10000000u
#define RENEW_NS 1000000000u
static struct {
    /* A sequence lock: odd while the others are written. They are stored with release and loaded with acquire, so that who
     * sees one of them new also sees a new seq. */
    _Atomic uint32_t seq;
    _Atomic bool counter;         /* is to be used */
    _Atomic uint64_t ticks, ns;   /* the anchor; 0: none */
    _Atomic uint64_t rate, valid; /* (ns << RATE_BITS) per tick; ticks that the anchor is good for */
    _Atomic uint64_t distance;    /* of the wall clock */
    uint32_t strikes;
} tick __attribute__((aligned(64)));

#if defined(__x86_64__)
static inline uint64_t counter_read(void)
{
    return __builtin_ia32_rdtsc();
}

static SDK_COLD bool counter_trusted(void)
{
    unsigned a, b, c, d = 0;
    if (!__get_cpuid(0x80000007, &a, &b, &c, &d) || !(d & 1u << 8)) /* one rate, whatever the processor does */
        return false;
    char name[16] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
    if (fd >= 0)
        close(fd);
    return n > 0 && !strcmp(name, "tsc\n");
}
#else
static inline uint64_t counter_read(void)
{
    return 0;
}

static bool counter_trusted(void)
{
    return false;
}
#endif

static inline uint64_t get(_Atomic uint64_t *p)
{
    return atomic_load_explicit(p, memory_order_acquire);
}

static inline void put(_Atomic uint64_t *p, uint64_t v)
{
    atomic_store_explicit(p, v, memory_order_release);
}

static bool tick_lock(void)
{
    uint32_t seq = atomic_load_explicit(&tick.seq, memory_order_relaxed);
    return !(seq & 1) && atomic_compare_exchange_strong(&tick.seq, &seq, seq + 1);
}

static void tick_unlock(void)
{
    atomic_fetch_add(&tick.seq, 1);
}

/* The rate from the anchor to here; 0 when it cannot be right. */
static uint64_t rate_measured(uint64_t ticks, uint64_t ns)
{
    uint64_t old = get(&tick.rate), rate = (uint64_t)(((__uint128_t)ns << RATE_BITS) / (ticks ? ticks : 1)),
             off = rate > old ? rate - old : old - rate;
    bool sane = rate >> (RATE_BITS - 4) && !(rate >> (RATE_BITS + 1)); /* 500 MHz to 16 GHz */
    return sane && (!old || off < old / 500) ? rate : 0;
}

/* A new anchor. Locked. */
static SDK_COLD void tick_renew(void)
{
    uint64_t before, after, ns, wall;
    int tries = 3;
    do { /* readings that nothing came in between */
        before = counter_read();
        ns = sdk_mono_ns();
        after = counter_read();
        wall = sdk_unix_ns();
    } while (counter_read() - before > 2000 && --tries);
    uint64_t at = before + (after - before) / 2, since = at - get(&tick.ticks);
    if (get(&tick.ns) && atomic_load_explicit(&tick.counter, memory_order_relaxed)) {
        uint64_t rate = rate_measured(since, ns - get(&tick.ns));
        if (rate)
            put(&tick.rate, rate);
        tick.strikes = rate ? 0 : tick.strikes + 1;
        if (tick.strikes == STRIKES_MAX) {
            atomic_store_explicit(&tick.counter, false, memory_order_relaxed);
            put(&tick.rate, 0);
        }
    }
    uint64_t rate = get(&tick.rate), second = rate ? ((uint64_t)RENEW_NS << RATE_BITS) / rate : 0;
    put(&tick.ticks, at);
    put(&tick.ns, ns);
    put(&tick.valid, since < second / GROWS ? since * GROWS : second);
    put(&tick.distance, wall - ns);
}

static SDK_COLD uint64_t tick_slow(uint64_t *ret_unix)
{
    uint64_t ns = sdk_mono_ns();
    bool counter = atomic_load_explicit(&tick.counter, memory_order_relaxed);
    if (ns - get(&tick.ns) > (counter ? FIRST_NS : RENEW_NS) && tick_lock()) {
        tick_renew();
        tick_unlock();
    }
    *ret_unix = ns + get(&tick.distance);
    return ns;
}

SDK_HOT uint64_t sdk_tick_ns(uint64_t *ret_unix)
{
    uint32_t seq = atomic_load_explicit(&tick.seq, memory_order_acquire);
    uint64_t ticks = get(&tick.ticks), ns = get(&tick.ns), rate = get(&tick.rate), valid = get(&tick.valid),
             distance = get(&tick.distance);
    bool torn = seq & 1 || seq != atomic_load_explicit(&tick.seq, memory_order_relaxed);
    if (SDK_UNLIKELY(torn || !valid))
        return tick_slow(ret_unix);
    uint64_t passed = counter_read() - ticks;
    if (SDK_UNLIKELY(passed >= valid))
        return tick_slow(ret_unix);
    ns += passed * rate >> RATE_BITS;
    *ret_unix = ns + distance;
    return ns;
}

SDK_COLD void sdk_tick_start(void)
{
    static _Atomic bool known;
    while (!tick_lock())
        sched_yield();
    if (!atomic_exchange(&known, true))
        atomic_store(&tick.counter, counter_trusted());
    put(&tick.ns, 0);
    tick_renew();
    tick_unlock();
}

/* Another thread may have stood in tick_renew(). */
SDK_COLD void sdk_tick_fork_child(void)
{
    put(&tick.valid, 0);
    put(&tick.ns, 0);
    atomic_store(&tick.seq, 0);
}

static SDK_COLD void random_seed(struct sdk_tls *t)
{
    if (getrandom(t->rng, sizeof t->rng, GRND_NONBLOCK) != (ssize_t)sizeof t->rng || !(t->rng[0] | t->rng[1])) {
        uint64_t seed[4] = { sdk_unix_ns(), sdk_mono_ns(), (uintptr_t)t, (uint64_t)getpid() };
        t->rng[0] = sdk_hash(seed, sizeof seed) | 1;
        t->rng[1] = sdk_hash(seed, sizeof seed - 1);
    }
    t->rng_fork = atomic_load_explicit(&sdk_forks, memory_order_relaxed) + 1;
}

static inline uint64_t random_next(uint64_t rng[2])
{
    uint64_t s0 = rng[0], s1 = rng[1];
    rng[0] = (s0 << 24 | s0 >> 40) ^ (s1 ^ s0) ^ (s1 ^ s0) << 16;
    rng[1] = (s1 ^ s0) << 37 | (s1 ^ s0) >> 27;
    return s0 + s1;
}

static inline struct sdk_tls *random_ready(void)
{
    struct sdk_tls *t = &sdk_tls;
    if (SDK_UNLIKELY(t->rng_fork != atomic_load_explicit(&sdk_forks, memory_order_relaxed) + 1))
        random_seed(t);
    return t;
}

uint64_t sdk_random(void)
{
    return random_next(random_ready()->rng);
}

SDK_HOT void sdk_random_ids(uint64_t *ret, size_t n)
{
    struct sdk_tls *t = random_ready();
    uint64_t rng[2] = { t->rng[0], t->rng[1] };
    ret[0] = random_next(rng);
    ret[0] += !ret[0];
    if (n == 3) {
        ret[1] = random_next(rng);
        ret[2] = random_next(rng);
        ret[1] += !ret[1];
    }
    t->rng[0] = rng[0];
    t->rng[1] = rng[1];
}

/* ---- threads and events ---- */

/* What a thread begins with, until it has read it: static, so that a child of fork, which does not have the thread, loses
 * nothing. */
struct thread_arg {
    void *(*fn)(void *);
    void *arg;
    char name[16];
    _Atomic bool used;
};
static struct thread_arg thread_args[32];

static struct thread_arg *thread_arg_new(void)
{
    for (size_t i = 0; i < SDK_COUNT_OF(thread_args); i++)
        if (!atomic_exchange(&thread_args[i].used, true))
            return &thread_args[i];
    return NULL;
}

SDK_COLD void sdk_thread_fork_child(void)
{
    for (size_t i = 0; i < SDK_COUNT_OF(thread_args); i++)
        atomic_store(&thread_args[i].used, false);
}

static void *thread_main(void *p)
{
    struct thread_arg *a = p;
    void *(*fn)(void *) = a->fn, *arg = a->arg;
    pthread_setname_np(pthread_self(), a->name);
    atomic_store(&a->used, false);
    return fn(arg);
}

SDK_COLD int sdk_thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg)
{
    struct thread_arg *a = thread_arg_new();
    if (!a)
        return EAGAIN;
    a->fn = fn;
    a->arg = arg;
    snprintf(a->name, sizeof a->name, "vane-%s", name);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(ret, &attr, thread_main, a);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (e)
        atomic_store(&a->used, false);
    return e;
}

SDK_COLD void sdk_event_init(struct sdk_event *e)
{
    pthread_mutex_init(&e->mu, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&e->cond, &attr);
    pthread_condattr_destroy(&attr);
    e->set = 0;
}

SDK_COLD void sdk_event_set(struct sdk_event *e)
{
    pthread_mutex_lock(&e->mu);
    e->set = 1;
    pthread_cond_broadcast(&e->cond);
    pthread_mutex_unlock(&e->mu);
}

SDK_COLD bool sdk_event_wait(struct sdk_event *e, uint64_t deadline_ns)
{
    struct timespec t = { (time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u) };
    int error = 0;
    pthread_mutex_lock(&e->mu);
    while (!e->set && !error)
        error = deadline_ns == UINT64_MAX ? pthread_cond_wait(&e->cond, &e->mu)
                                          : pthread_cond_timedwait(&e->cond, &e->mu, &t);
    bool set = e->set;
    e->set = 0;
    pthread_mutex_unlock(&e->mu);
    return set;
}

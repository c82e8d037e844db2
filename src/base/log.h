/* Our own log: structured lines (logfmt or JSON) to stderr, rate-limited per call site (at most 10 lines
 * a second each; what was suppressed is counted and said with the next line). Whoever decides logs, once.
 *   LOG_WARN("wal sync failed, switching file", "path", path, "err", err_name(e));
 * Keys and values are C strings, pairwise; log_n("n", 3) style values are made with LOG_I64/LOG_STR. */
#ifndef VANE_BASE_LOG_H
#define VANE_BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

struct log_site { /* one per call site, zero-initialised */
    long second;
    unsigned in_second, suppressed;
};
void log_setup(enum log_level level, enum log_format format);
bool log_level_parse(str s, enum log_level *ret);
/* A line goes here as well (tests; later the product's own log store). NULL removes it. */
void log_set_hook(void (*hook)(void *ctx, enum log_level level, str line), void *ctx);
void log_write(struct log_site *site, enum log_level level, const char *file, int line, const char *msg, ...)
    __attribute__((sentinel));
bool log_enabled(enum log_level level);

#define LOG_AT(level, ...)                                                        \
    do {                                                                          \
        static struct log_site site_;                                             \
        if (log_enabled(level))                                                   \
            log_write(&site_, level, __FILE__, __LINE__, __VA_ARGS__, (char *)0); \
    } while (0)
#define LOG_DEBUG(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(...)  LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...)  LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)

/* Values that are not C strings, formatted into storage that lives for the statement. */
struct log_val {
    char text[256];
};
const char *log_i64(struct log_val *v, long long n);
const char *log_str(struct log_val *v, str s); /* cut to fit */
#define LOG_I64(n) log_i64(&(struct log_val){ { 0 } }, (long long)(n))
#define LOG_STR(s) log_str(&(struct log_val){ { 0 } }, (s))

#endif

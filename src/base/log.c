/* The log; see log.h. A line is built in one buffer and written with one write(2). */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "base/num.h"
#include "base/os.h"

enum { LOG_LINES_PER_SECOND = 10, LOG_LINE_BYTES_MAX = 16384 };

static atomic_int log_least = LOG_LEVEL_INFO;
static atomic_int log_form = LOG_FORMAT_LOGFMT;
static pthread_mutex_t log_mu = PTHREAD_MUTEX_INITIALIZER;
static void (*log_hook)(void *ctx, enum log_level level, str line);
static void *log_hook_ctx;
static const char *const log_names[] = { "debug", "info", "warn", "error" };

void log_setup(enum log_level level, enum log_format format)
{
    atomic_store(&log_least, (int)level);
    atomic_store(&log_form, (int)format);
}

bool log_level_parse(str s, enum log_level *ret)
{
    for (int i = 0; i < 4; i++)
        if (str_eq(s, str_c(log_names[i]))) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

void log_set_hook(void (*hook)(void *ctx, enum log_level level, str line), void *ctx)
{
    pthread_mutex_lock(&log_mu);
    log_hook = hook;
    log_hook_ctx = ctx;
    pthread_mutex_unlock(&log_mu);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_least, memory_order_relaxed);
}

static bool logfmt_plain(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\' || s.p[i] == 0x7f)
            return false;
    return s.n > 0;
}

static void log_pair(struct buf *b, bool json, const char *key, str value)
{
    if (b->n)
        buf_u8(b, json ? ',' : ' ');
    if (json) {
        json_escape(b, str_c(key));
        buf_u8(b, ':');
        json_escape(b, value);
        return;
    }
    buf_str_add(b, str_c(key));
    buf_u8(b, '=');
    if (logfmt_plain(value))
        buf_str_add(b, value);
    else
        json_escape(b, value);
}

/* Under log_mu. False: over the site's rate. */
static bool log_admit(struct log_site *site, unsigned *ret_suppressed)
{
    long second = (long)(os_mono_ns() / 1000000000u);
    if (second != site->second) {
        *ret_suppressed = site->suppressed;
        site->second = second;
        site->in_second = site->suppressed = 0;
    }
    if (site->in_second >= LOG_LINES_PER_SECOND) {
        site->suppressed++;
        return false;
    }
    site->in_second++;
    return true;
}

static void log_line(struct buf *b, enum log_level level, const char *file, int line, const char *msg, va_list ap)
{
    bool json = atomic_load(&log_form) == LOG_FORMAT_JSON;
    char where[64];
    struct buf ts = { 0 };
    const char *base = strrchr(file, '/');
    snprintf(where, sizeof(where), "%.40s:%d", base ? base + 1 : file, line);
    buf_rfc3339_ms(&ts, os_now_ms());
    log_pair(b, json, "ts", buf_str(&ts));
    buf_deinit(&ts);
    log_pair(b, json, "level", str_c(log_names[level]));
    log_pair(b, json, "source", str_c(where));
    log_pair(b, json, "msg", str_c(msg));
    for (const char *key; (key = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        log_pair(b, json, key, str_c(value ? value : ""));
        if (!value)
            break;
    }
}

void log_write(struct log_site *site, enum log_level level, const char *file, int line, const char *msg, ...)
{
    unsigned suppressed = 0;
    pthread_mutex_lock(&log_mu);
    bool admit = log_admit(site, &suppressed);
    pthread_mutex_unlock(&log_mu);
    if (!admit)
        return;
    AUTO_BUF struct buf b;
    buf_init(&b, LOG_LINE_BYTES_MAX);
    bool json = atomic_load(&log_form) == LOG_FORMAT_JSON;
    va_list ap;
    va_start(ap, msg);
    log_line(&b, level, file, line, msg, ap);
    va_end(ap);
    if (suppressed) {
        char text[16];
        snprintf(text, sizeof(text), "%u", suppressed);
        log_pair(&b, json, "suppressed_lines", str_c(text));
    }
    AUTO_BUF struct buf whole = { 0 };
    if (json)
        buf_u8(&whole, '{');
    buf_str_add(&whole, buf_str(&b));
    if (json)
        buf_u8(&whole, '}');
    buf_u8(&whole, '\n');
    pthread_mutex_lock(&log_mu);
    ssize_t ignored = write(STDERR_FILENO, whole.p, whole.n);
    (void)ignored; /* nowhere left to say it */
    if (log_hook)
        log_hook(log_hook_ctx, level, buf_str(&b));
    pthread_mutex_unlock(&log_mu);
}

const char *log_i64(struct log_val *v, long long n)
{
    snprintf(v->text, sizeof(v->text), "%lld", n);
    return v->text;
}

const char *log_str(struct log_val *v, str s)
{
    size_t n = s.n < sizeof(v->text) - 1 ? s.n : sizeof(v->text) - 1;
    if (n)
        memcpy(v->text, s.p, n);
    v->text[n] = '\0';
    return v->text;
}

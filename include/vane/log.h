/* libvane logging: structured lines with trace ids, scoped context, sinks, audit records.
 *
 *     VANE_INFO("processing payment", vane_f64("amount", 12.5), vane_str("currency", "EUR"));
 *     VANE_LOG_SCOPE(vane_str("correlation_id", id), vane_str("user_id", user));   // for all lines of this scope, below too
 *     vane_logf(VANE_LOG_WARN, "retry %d of %d", i, n);
 *
 * A line carries: timestamp, service, level, message, correlation_id, user_id, endpoint (when a scope has them), trace_id
 * and span_id (inside a span), metadata (everything else), source file and line. The caller copies the line to a ring of
 * its thread and returns; a background thread formats and writes. A full ring drops the line and counts it; nothing
 * waits. CRITICAL lines wake the writer at once. Values of keys in the redaction list are replaced by "[redacted]". */
#ifndef VANE_LOG_H
#define VANE_LOG_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Levels with their OpenTelemetry severity numbers. */
typedef enum vane_log_level {
    VANE_LOG_DEBUG = 5,
    VANE_LOG_INFO = 9,
    VANE_LOG_WARN = 13,
    VANE_LOG_ERROR = 17,
    VANE_LOG_CRITICAL = 21
} vane_log_level;

#define VANE_LOG_FIELDS_MAX  64    /* fields of a line, scopes included; more are dropped, counted in the line */
#define VANE_LOG_MESSAGE_MAX 16384 /* bytes of a message; longer ones are cut */
#define VANE_LOG_SCOPES_MAX  16    /* nested scopes of a thread */

/* Level below which lines cost one load and a branch. Threshold of the process; 255 while not running. Read by the
 * macros; set it with vane_log_set_level() (takes effect at once, any thread). */
VANE_API extern volatile uint8_t vane_log_threshold_;
VANE_API void vane_log_set_level(vane_log_level level);
/* "debug", "WARNING", "Fatal" ... to a level; VANE_E_ARG for what is none. */
VANE_API vane_status vane_log_level_parse(const char *text, vane_log_level *ret);

#if defined(__GNUC__)
#define vane_log_on(level) ((unsigned)(level) >= __atomic_load_n(&vane_log_threshold_, __ATOMIC_RELAXED))
#else
#define vane_log_on(level) ((unsigned)(level) >= vane_log_threshold_)
#endif

/* A place in the source, for rate limits and for the line's code.* attributes. Made by the macros. */
typedef struct vane_log_site {
    const char *file;
    int line;
    uint32_t private_[5]; /* zero */
} vane_log_site;

/* Log a line. message and fields are copied.
 *   site   may be NULL
 * Threads: any. Signals: not safe. */
VANE_API void vane_log(vane_log_level level, vane_log_site *site, const char *message, const vane_attr *fields,
                       size_t n);

/* printf into the message, at most VANE_LOG_MESSAGE_MAX bytes. */
VANE_API void vane_logf_(vane_log_level level, vane_log_site *site, const char *format, ...) VANE_PRINTF_(3, 4);

#if defined(__cplusplus)
} /* extern "C" */
namespace vane_detail
{
template <typename... A> inline void log(vane_log_level level, vane_log_site *site, const char *message, A... a)
{
    const vane_attr fields[sizeof...(a) + 1] = { a..., vane_attr() };
    vane_log(level, site, message, fields, sizeof...(a));
}
} // namespace vane_detail
extern "C" {
#define VANE_LOG_FIELDS_(level, site, ...) ::vane_detail::log(level, site, __VA_ARGS__)
#else
/* The message is the first of the arguments: attributes follow it, or nothing. */
#define VANE_LOG_FIELDS_(level, site, ...) vane_log(level, site, VANE_LOG_ARGS_(__VA_ARGS__, vane_log_end_()))
#define VANE_LOG_ARGS_(message, ...) \
    message, (const vane_attr[]){ __VA_ARGS__ }, sizeof((const vane_attr[]){ __VA_ARGS__ }) / sizeof(vane_attr) - 1
static inline vane_attr vane_log_end_(void)
{
    return vane_bool("", 0);
}
#endif

/* VANE_LOG(level, "message", vane_str(...), ...): fields only of the vane_attr type, so the compiler checks them; nothing
 * is evaluated below the threshold. */
#define VANE_LOG(level, ...)                                                 \
    do {                                                                     \
        if (vane_log_on(level)) {                                            \
            static vane_log_site vane_site_ = { __FILE__, __LINE__, { 0 } }; \
            VANE_LOG_FIELDS_(level, &vane_site_, __VA_ARGS__);               \
        }                                                                    \
    } while (0)
#define VANE_DEBUG(...)    VANE_LOG(VANE_LOG_DEBUG, __VA_ARGS__)
#define VANE_INFO(...)     VANE_LOG(VANE_LOG_INFO, __VA_ARGS__)
#define VANE_WARN(...)     VANE_LOG(VANE_LOG_WARN, __VA_ARGS__)
#define VANE_ERROR(...)    VANE_LOG(VANE_LOG_ERROR, __VA_ARGS__)
#define VANE_CRITICAL(...) VANE_LOG(VANE_LOG_CRITICAL, __VA_ARGS__)
#define vane_logf(level, ...)                                                \
    do {                                                                     \
        if (vane_log_on(level)) {                                            \
            static vane_log_site vane_site_ = { __FILE__, __LINE__, { 0 } }; \
            vane_logf_(level, &vane_site_, __VA_ARGS__);                     \
        }                                                                    \
    } while (0)

/* At most `per_second` lines a second from this place (the next line says how many were withheld); one line in `n`. */
VANE_API int vane_log_allow_rate_(vane_log_site *site, uint32_t per_second);
VANE_API int vane_log_allow_one_in_(vane_log_site *site, uint32_t n);
#define VANE_LOG_RATE(per_second, level, ...)                                      \
    do {                                                                           \
        static vane_log_site vane_site_ = { __FILE__, __LINE__, { 0 } };           \
        if (vane_log_on(level) && vane_log_allow_rate_(&vane_site_, per_second)) { \
            VANE_LOG_FIELDS_(level, &vane_site_, __VA_ARGS__);                     \
        }                                                                          \
    } while (0)
#define VANE_LOG_ONE_IN(n, level, ...)                                      \
    do {                                                                    \
        static vane_log_site vane_site_ = { __FILE__, __LINE__, { 0 } };    \
        if (vane_log_on(level) && vane_log_allow_one_in_(&vane_site_, n)) { \
            VANE_LOG_FIELDS_(level, &vane_site_, __VA_ARGS__);              \
        }                                                                   \
    } while (0)

/* ---- scoped context --------------------------------------------------------------------------------------------- */

/* Fields for every line this thread logs until the scope ends. Keys and values are copied (at most 1 KiB a scope, cut).
 * A key of an inner scope hides the outer one's. Baggage with the keys correlation_id and user_id is used when no scope
 * has them. Ending out of order ends the scopes inside too; a second end does nothing. */
typedef struct vane_log_scope {
    uint64_t private_[4];
} vane_log_scope;
VANE_API vane_log_scope vane_log_scope_begin(const vane_attr *fields, size_t n);
VANE_API void vane_log_scope_end(vane_log_scope *scope);

/* Carry a request's log context to another thread: save on one (into memory from malloc(), NULL when there is none),
 * begin a scope with it on the other, free it when no longer used. */
typedef struct vane_log_saved vane_log_saved;
VANE_API vane_log_saved *vane_log_context_save(void);
VANE_API vane_log_scope vane_log_context_begin(const vane_log_saved *saved);
VANE_API void vane_log_context_free(vane_log_saved *saved);

#if defined(__GNUC__) && !defined(__cplusplus)
#define VANE_LOG_SCOPE(...)                                                                                     \
    __attribute__((cleanup(vane_log_scope_end), unused)) vane_log_scope VANE_LOG_JOIN_(vane_scope_, __LINE__) = \
        vane_log_scope_begin((const vane_attr[]){ __VA_ARGS__ },                                                \
                             sizeof((const vane_attr[]){ __VA_ARGS__ }) / sizeof(vane_attr))
#elif defined(__GNUC__)
} /* extern "C" */
namespace vane_detail
{
template <typename... A> inline vane_log_scope scope(A... a)
{
    const vane_attr fields[sizeof...(a)] = { a... };
    return vane_log_scope_begin(fields, sizeof...(a));
}
} // namespace vane_detail
extern "C" {
#define VANE_LOG_SCOPE(...)                                                                                     \
    __attribute__((cleanup(vane_log_scope_end), unused)) vane_log_scope VANE_LOG_JOIN_(vane_scope_, __LINE__) = \
        ::vane_detail::scope(__VA_ARGS__)
#endif
#define VANE_LOG_JOIN2_(a, b) a##b
#define VANE_LOG_JOIN_(a, b)  VANE_LOG_JOIN2_(a, b)

/* ---- sinks ------------------------------------------------------------------------------------------------------ */

/* A sink of the host, beside those of the configuration: called on the background thread with one formatted line
 * (log_format, newline included) and its level. At most 8. It must not log. */
typedef void (*vane_log_sink_fn)(void *ctx, vane_log_level level, const char *line, size_t n);
VANE_API vane_status vane_log_add_sink(vane_log_sink_fn fn, void *ctx);

/* Reopen file sinks, after something outside moved the file. Takes effect before the next line is written. */
VANE_API void vane_log_reopen(void);

/* Add keys to the redaction list, "pin,iban"; matched without case, also as the last part of a dotted key. */
VANE_API vane_status vane_log_redact(const char *keys);

/* ---- audit ------------------------------------------------------------------------------------------------------ */

/* Who did what to what, and how it ended. Written to every sink whatever the level, never sampled or rate-limited, with
 * "log.kind":"audit". actor, action and object are required; strings copied.
 *   outcome   "success", "failure" or "denied"
 * Returns   VANE_OK when it is in the ring; VANE_E_ARG; VANE_E_LIMIT when the ring was full (it waits up to 50 ms first:
 *           an audit record is worth that); VANE_E_STATE. */
VANE_API vane_status vane_audit(const char *actor, const char *action, const char *object, const char *outcome,
                                const vane_attr *context, size_t n);

#ifdef __cplusplus
}
#endif
#endif

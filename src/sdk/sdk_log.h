/* libvane's log lines inside: the rings the host's threads write to, the record in them, the lines the writer thread makes
 * of records, the sinks. sdk_log.c is the host's side, sdk_log_write.c the writer's, sdk_sink_*.c where lines go. */
#pragma once

#include "sdk_int.h"

#pragma GCC visibility push(hidden)

/* ---- the ring --------------------------------------------------------------------------------------------------- */

/* A ring has one writer (its thread) and one reader (the writer thread). It is given back when its thread ends, with what
 * is in it, and taken by the next. Ring 0 is for threads that found none: they take turns with `busy`, tried a few times.
 *
 * The bytes lie in an sdk_region, so that `vane blackbox` finds the last lines of a process that died: a reader without
 * the positions walks 8-byte steps and takes what has the right check word. */
struct sdk_log_ring {
    _Alignas(64) _Atomic uint64_t head; /* bytes ever written; the ring's thread writes it */
    uint64_t tail_seen;                 /* its last look at tail */
    uint32_t at;                        /* head's place in data */
    uint32_t size;                      /* bytes of data, a multiple of 8 */
    char *data;                         /* NULL: this ring has no memory yet */
    _Atomic uint32_t busy;              /* of ring 0 */
    bool owned;                         /* guarded by the lock of rings */
    _Alignas(64) _Atomic uint64_t tail; /* bytes ever taken; the writer thread writes it */
    uint32_t tail_at;
};
#define SDK_LOG_RINGS_MAX 257u
extern struct sdk_log_ring sdk_log_rings[SDK_LOG_RINGS_MAX];
extern _Atomic uint32_t sdk_log_rings_n; /* rings with memory are below it */

enum sdk_log_kind { SDK_LOG_PAD = 0, SDK_LOG_LINE = 1, SDK_LOG_AUDIT = 2, SDK_LOG_EVENT = 3 };

/* A record: this, then scope_n + fields_n bytes of fields, message_n bytes of message, file_n of the source file, padding
 * to 8. Also what the black box holds: docs/format/sdk-file.md. */
struct sdk_log_rec {
    uint32_t size;  /* all of it */
    uint32_t check; /* sdk_log_check() of where it begins: tells a record from what is left of an older one */
    uint64_t unix_ns;
    uint8_t trace_id[16], span_id[8];
    uint8_t kind, level, trace_flags, reserved;
    uint32_t scope_n, fields_n, message_n;
    uint32_t line, suppressed;
    uint16_t file_n, dropped; /* dropped: fields over the limits */
    uint32_t reserved2;
};
_Static_assert(sizeof(struct sdk_log_rec) == 72, "docs/format/sdk-file.md, ring of logs");
#define SDK_LOG_REC_MAX 65536u /* bytes of a record; and half the ring */

/* A field in a record: this, the key, the value (8 bytes for numbers and booleans). Not aligned. */
struct sdk_log_field {
    uint8_t type, key_n;
    uint16_t reserved;
    uint32_t value_n;
};

static inline uint32_t sdk_log_check(uint64_t pos, uint32_t size)
{
    return (uint32_t)((pos + size) * 0x9E3779B97F4A7C15u >> 32) | 1;
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

#define SDK_LOG_LINE_FIELDS_MAX (VANE_LOG_FIELDS_MAX + 16)

/* A record read: texts point into the record and may hold anything until sdk_log_clean() has been over them. */
struct sdk_log_line {
    uint64_t unix_ns;
    enum sdk_log_kind kind;
    vane_log_level level;
    const uint8_t *trace_id, *span_id; /* NULL: outside a span */
    uint8_t trace_flags;
    const char *message, *file;
    uint32_t message_n, file_n, line, suppressed, dropped;
    size_t n_fields;
    struct sdk_log_pair {
        vane_type type;
        const char *key, *value; /* not NUL-terminated, not aligned; of numbers and booleans 8 bytes */
        uint32_t key_n, value_n;
    } fields[SDK_LOG_LINE_FIELDS_MAX]; /* an inner scope's key has replaced the outer one's */
};

/* Read a record of n bytes (bounds are checked: the black box reads files). false: it is none. */
bool sdk_log_read(const char *rec, size_t n, struct sdk_log_line *ret);

/* Field with that key or NULL. */
const struct sdk_log_pair *sdk_log_find(const struct sdk_log_line *l, const char *key);

/* The line as JSON or text, with newline. */
void sdk_log_json(struct sdk_buf *b, const struct sdk_log_line *l, const char *service);
void sdk_log_text(struct sdk_buf *b, const struct sdk_log_line *l, const char *service);

/* An attribute's value as JSON: bytes in base64, NaN and infinities as strings, with as_text numbers and booleans too. */
void sdk_put_json_value(struct sdk_buf *b, vane_type type, const void *value, size_t n, bool as_text);

/* The level's range of OpenTelemetry's severity numbers, and its name. */
vane_log_level sdk_log_level(unsigned number);
const char *sdk_log_level_name(vane_log_level level);

/* ---- host's side: what other files of the library call ---------------------------------------------------------- */

/* Put a record into this thread's ring, whatever the level. false: dropped, not counted. */
bool sdk_log_put(enum sdk_log_kind kind, vane_log_level level, vane_log_site *site, const char *message,
                 const vane_attr *fields, size_t n);

/* Lines that found their ring full or their thread without one. */
extern _Atomic uint64_t sdk_log_lost;

/* Have what this thread logs dropped and counted: for the writer thread, whose sinks and callbacks must not log. */
void sdk_log_mute(void);

/* Key's value in this thread's scopes, copied into buf[n], NUL-terminated. false: no scope has it. */
bool sdk_log_scope_get(const char *key, char *buf, size_t n);

/* ---- sinks: used by the writer thread only ---------------------------------------------------------------------- */

/* `write` is given a line and its formatted text. It may keep the text back until `flush`. What it cannot write it counts
 * (SDK_LOGS_DROPPED) and tells (sdk_diag). Until deadline_ns of the writer's stop it may wait for a slow receiver. */
struct sdk_sink {
    void (*write)(struct sdk_sink *s, const struct sdk_log_line *l, const char *text, size_t n);
    void (*flush)(struct sdk_sink *s);
    void (*reopen)(struct sdk_sink *s);
    void (*close)(struct sdk_sink *s);
    const _Atomic uint64_t *stop_deadline_ns; /* 0: not stopping */
    int fd;
    /* stderr and files */
    char path[512];
    uint64_t size; /* of the file, as far as this process knows */
    uint64_t dev, ino;
    uint32_t n, n_lines; /* bytes and lines in buf */
    bool regular, torn;  /* torn: the last write ended inside a line */
    bool told;           /* the failure under way has been told */
    char buf[32768];
};

/* Make a sink of "stderr", "file:PATH", "syslog[:SOCKET]", "journald[:SOCKET]", "otlp". VANE_E_ARG: no such sink;
 * VANE_E_IO: cannot be opened (errno). */
vane_status sdk_sink_stream_open(struct sdk_sink *s, const char *path);   /* NULL: stderr. sdk_sink_stream.c */
vane_status sdk_sink_syslog_open(struct sdk_sink *s, const char *socket); /* sdk_sink_syslog.c */
vane_status sdk_sink_journald_open(struct sdk_sink *s, const char *socket);

/* Lines for OTLP, valid text by now: set by the exporter while it runs. Called on the writer thread, must copy what it keeps; false: dropped. */
typedef bool (*sdk_log_otlp_fn)(const struct sdk_log_line *l);
extern _Atomic(sdk_log_otlp_fn) sdk_log_otlp_hook;

/* ---- between sdk_log.c and sdk_log_write.c ---------------------------------------------------------------------- */

/* What the writer is doing, for the host's threads: 0 awake; 1 asleep until woken; 2 in a short nap. */
extern _Atomic uint32_t sdk_log_sleeping;
void sdk_log_wake(void) SDK_COLD; /* also starts the thread in a child of fork */

vane_status sdk_log_writer_start(void); /* open the sinks */
vane_status sdk_log_writer_threads(void);
bool sdk_log_writer_flush(uint64_t deadline_ns);
void sdk_log_writer_stop(void);
void sdk_log_writer_fork_prepare(void);
void sdk_log_writer_fork_parent(void);
void sdk_log_writer_fork_child(void);
void sdk_log_writer_reopen(void);

#pragma GCC visibility pop

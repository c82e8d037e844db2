/* Sinks that are sockets of the machine's log daemon: syslog (BSD format, RFC 3164, as glibc's syslog(3) sends it, but
 * without the time, which the daemon adds: it would need the locale's time zone under a lock) and journald (its native
 * protocol, with every field). Datagrams are sent without waiting; what the daemon does not take is counted. A daemon
 * that is restarted is found again. */
#include "sdk_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SYSLOG_BYTES_MAX 8000u
#define FACILITY_USER    1u
#define FACILITY_AUDIT   10u /* authpriv */

static unsigned severity(vane_log_level level)
{
    return level >= VANE_LOG_CRITICAL ? 2
           : level >= VANE_LOG_ERROR  ? 3
           : level >= VANE_LOG_WARN   ? 4
           : level >= VANE_LOG_INFO   ? 6
                                      : 7;
}

static bool socket_connect(struct sdk_sink *s)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    memcpy(a.sun_path, s->path, strlen(s->path) + 1);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && connect(s->fd, (struct sockaddr *)&a, sizeof a)) {
        int error = errno;
        close(s->fd);
        s->fd = -1;
        errno = error;
    }
    return s->fd >= 0;
}

static void sent(struct sdk_sink *s, bool ok)
{
    if (ok) {
        s->told = false;
        return;
    }
    sdk_count(SDK_LOGS_DROPPED, 1);
    if (!s->told)
        sdk_diag(VANE_E_IO, "log lines cannot be sent to %s: %s; they are dropped until it works again", s->path,
                 strerror(errno));
    s->told = true;
}

/* errno EMSGSIZE and EAGAIN are the caller's to treat. */
static bool socket_send(struct sdk_sink *s, const struct msghdr *m)
{
    for (int tries = 0; tries < 2; tries++) {
        if (s->fd >= 0 && sendmsg(s->fd, m, MSG_NOSIGNAL) >= 0)
            return true;
        if (s->fd >= 0 && (errno == EMSGSIZE || errno == EAGAIN || errno == ENOBUFS))
            return false;
        if (!socket_connect(s))
            return false;
    }
    return false;
}

static bool send_bytes(struct sdk_sink *s, const char *p, size_t n)
{
    struct iovec v = { (void *)(uintptr_t)p, n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    return socket_send(s, &m);
}

static const char *program(void)
{
    return sdk_cfg.service_name && *sdk_cfg.service_name ? sdk_cfg.service_name : "vane";
}

static void syslog_write(struct sdk_sink *s, const struct sdk_log_line *l, const char *text, size_t n)
{
    char out[SYSLOG_BYTES_MAX];
    unsigned facility = l->kind == SDK_LOG_AUDIT ? FACILITY_AUDIT : FACILITY_USER;
    int head = snprintf(out, 256, "<%u>%.48s[%ld]: ", facility << 3 | severity(l->level), program(), (long)getpid());
    for (char *c = strchr(out, '>') + 1; *c && *c != '['; c++) /* the tag ends at the first space, colon or bracket */
        if (*c == ' ' || *c == ':' || (unsigned char)*c < ' ')
            *c = '_';
    n -= n > 0 && text[n - 1] == '\n';
    if (n > sizeof out - (size_t)head) {
        n = sizeof out - (size_t)head;
        while (n && ((uint8_t)text[n] & 0xC0) == 0x80)
            n--;
        sdk_count(SDK_CUT_STRINGS, 1);
    }
    memcpy(out + head, text, n);
    sent(s, send_bytes(s, out, (size_t)head + n));
}

/* KEY=value, or with a length when the value has a newline. */
static void journal_field(struct sdk_buf *b, const char *key, const char *value, size_t n)
{
    sdk_puts(b, key);
    if (!memchr(value, '\n', n)) {
        sdk_putc(b, '=');
        sdk_put(b, value, n);
    } else {
        sdk_putc(b, '\n');
        uint64_t len = n;
        for (int i = 0; i < 8; i++, len >>= 8)
            sdk_putc(b, (char)len);
        sdk_put(b, value, n);
    }
    sdk_putc(b, '\n');
}

/* journald takes names of [A-Z0-9_], not beginning with a digit or an underscore, 64 bytes at most. */
static void journal_name(char out[65], const char *key, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n && at < 64; i++) {
        char c = key[i];
        c = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        bool letter = c >= 'A' && c <= 'Z', other = (c >= '0' && c <= '9') || c == '_';
        if (!at && !letter)
            out[at++] = 'F';
        if (at < 64)
            out[at++] = letter || other ? c : '_';
    }
    out[at] = 0;
}

static void journal_value(struct sdk_buf *b, const struct sdk_log_pair *p)
{
    char name[65];
    journal_name(name, p->key, p->key_n);
    if (p->type == VANE_T_STR || p->type == VANE_T_BYTES) {
        journal_field(b, name, p->value, p->value_n);
        return;
    }
    sdk_puts(b, name);
    sdk_putc(b, '=');
    sdk_put_json_value(b, p->type, p->value, p->value_n, false);
    sdk_putc(b, '\n');
}

/* A datagram over the socket's limit goes as a sealed memory file. */
static bool send_file(struct sdk_sink *s, const char *p, size_t n)
{
    int fd = memfd_create("vane-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool ok = fd >= 0 && write(fd, p, n) == (ssize_t)n &&
              !fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    if (ok) {
        union {
            struct cmsghdr h;
            char space[CMSG_SPACE(sizeof(int))];
        } c = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
        memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
        struct msghdr m = { .msg_control = &c, .msg_controllen = sizeof c };
        ok = socket_send(s, &m);
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return ok;
}

static void journald_write(struct sdk_sink *s, const struct sdk_log_line *l, const char *text, size_t n)
{
    (void)text, (void)n;
    struct sdk_buf b;
    sdk_buf_init(&b, 4 * SDK_LOG_REC_MAX);
    char digits[24];
    journal_field(&b, "MESSAGE", l->message, l->message_n);
    journal_field(&b, "PRIORITY", digits, sdk_fmt_u64(digits, severity(l->level)));
    journal_field(&b, "SYSLOG_IDENTIFIER", program(), strlen(program()));
    if (l->kind != SDK_LOG_LINE)
        journal_field(&b, "LOG_KIND", l->kind == SDK_LOG_AUDIT ? "audit" : "event", 5);
    if (l->file_n) {
        journal_field(&b, "CODE_FILE", l->file, l->file_n);
        journal_field(&b, "CODE_LINE", digits, sdk_fmt_u64(digits, l->line));
    }
    if (l->trace_id) {
        SDK_PUTS(&b, "TRACE_ID=");
        sdk_put_hex(&b, l->trace_id, 16);
        SDK_PUTS(&b, "\nSPAN_ID=");
        sdk_put_hex(&b, l->span_id, 8);
        sdk_putc(&b, '\n');
    }
    for (size_t i = 0; i < l->n_fields; i++)
        journal_value(&b, &l->fields[i]);
    bool ok = !b.failed && send_bytes(s, b.p, b.n);
    if (!ok && !b.failed && errno == EMSGSIZE)
        ok = send_file(s, b.p, b.n);
    sent(s, ok);
    sdk_buf_free(&b);
}

static void socket_close(struct sdk_sink *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static vane_status socket_sink(struct sdk_sink *s, const char *path)
{
    s->close = socket_close;
    if (!*path || strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        errno = ENAMETOOLONG;
        return VANE_E_IO;
    }
    memcpy(s->path, path, strlen(path) + 1);
    return socket_connect(s) ? VANE_OK : VANE_E_IO;
}

vane_status sdk_sink_syslog_open(struct sdk_sink *s, const char *socket)
{
    s->write = syslog_write;
    return socket_sink(s, socket);
}

vane_status sdk_sink_journald_open(struct sdk_sink *s, const char *socket)
{
    s->write = journald_write;
    return socket_sink(s, socket);
}

/* Sinks that are streams of lines: standard error and files with rotation. Lines are gathered and written at the end of a
 * round, whole lines at a time.
 *
 * Files are opened for appending, so that several processes may share one. Before each write the path is looked at: when
 * it names another file by now (another process has rotated, logrotate has moved it) it is opened anew. A file that would
 * grow over log_file_max_bytes becomes PATH.1, PATH.1 becomes PATH.2 ... up to log_file_keep; who rotates holds a lock on
 * the file, and who comes second sees that it is done. */
#include "sdk_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 4096u /* PIPE_BUF: what poll() promises room for in a pipe */

static const char *name_of(const struct sdk_sink *s)
{
    return s->path[0] ? s->path : "standard error";
}

static void lost(struct sdk_sink *s, uint32_t lines, int error)
{
    sdk_count(SDK_LOGS_DROPPED, lines);
    if (!s->told)
        sdk_diag(VANE_E_IO, "log lines cannot be written to %s: %s; they are dropped until it works again", name_of(s),
                 strerror(error));
    s->told = true;
}

static bool file_open(struct sdk_sink *s)
{
    /* Without O_NONBLOCK, opening a FIFO would wait for its reader. */
    s->fd = open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    struct stat st;
    if (s->fd < 0 || fstat(s->fd, &st))
        return false;
    s->regular = S_ISREG(st.st_mode);
    s->size = (uint64_t)st.st_size;
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    return true;
}

static void file_close(struct sdk_sink *s)
{
    if (s->fd >= 0 && s->path[0])
        close(s->fd);
    s->fd = -1;
}

static bool same_file(const struct sdk_sink *s, const struct stat *st)
{
    return st->st_dev == s->dev && st->st_ino == s->ino;
}

/* The descriptor is the file of that path; size is right. */
static bool file_check(struct sdk_sink *s)
{
    struct stat st;
    if (s->fd >= 0 && (!s->regular || (!stat(s->path, &st) && same_file(s, &st)))) {
        if (s->regular)
            s->size = (uint64_t)st.st_size;
        return true;
    }
    file_close(s);
    s->torn = false;
    return file_open(s);
}

static void rename_numbered(const struct sdk_sink *s, uint32_t from)
{
    char old[544], new[544];
    snprintf(old, sizeof old, from ? "%s.%u" : "%s", s->path, from);
    snprintf(new, sizeof new, "%s.%u", s->path, from + 1);
    if (rename(old, new) && errno != ENOENT)
        sdk_diag(VANE_E_IO, "log rotation: %s cannot become %s: %s", old, new, strerror(errno));
}

static void file_rotate(struct sdk_sink *s)
{
    struct stat st;
    int tries = 0;
    while (flock(s->fd, LOCK_EX | LOCK_NB)) { /* another process is at it */
        bool held = errno == EWOULDBLOCK;
        if (stat(s->path, &st) || !same_file(s, &st)) {
            file_check(s);
            return;
        }
        if (!held || ++tries > 50)
            return; /* it hangs, or the file system has no locks: the limit is passed by a batch */
        poll(NULL, 0, 1);
    }
    bool still = !stat(s->path, &st) && same_file(s, &st);
    if (still && sdk_cfg.log_file_keep == 0) {
        if (ftruncate(s->fd, 0))
            sdk_diag(VANE_E_IO, "log rotation: %s cannot be emptied: %s", s->path, strerror(errno));
    } else if (still) {
        for (uint32_t i = sdk_cfg.log_file_keep; i-- > 0;)
            rename_numbered(s, i);
    }
    flock(s->fd, LOCK_UN);
    file_check(s);
}

/* Write all of it. How far it came is told by *ret_n. false: errno. */
static bool write_all(struct sdk_sink *s, const char *p, size_t n, size_t *ret_n)
{
    for (*ret_n = 0; *ret_n < n;) {
        uint64_t stop = atomic_load_explicit(s->stop_deadline_ns, memory_order_relaxed);
        if (!s->regular) {
            struct pollfd f = { s->fd, POLLOUT, 0 };
            int ready = poll(&f, 1, 50);
            if (stop && !(ready > 0 && f.revents & POLLOUT) && sdk_mono_ns() > stop) {
                errno = ETIMEDOUT;
                return false;
            }
            if (ready <= 0 || !(f.revents & (POLLOUT | POLLERR | POLLHUP | POLLNVAL)))
                continue;
        }
        size_t piece = !s->regular && n - *ret_n > PIECE ? PIECE : n - *ret_n;
        ssize_t k = write(s->fd, p + *ret_n, piece);
        if (k < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (k < 0)
            return false;
        *ret_n += (size_t)k;
    }
    return true;
}

static void stream_write_out(struct sdk_sink *s, const char *p, size_t n, uint32_t lines)
{
    if (!n)
        return;
    if (s->path[0]) {
        if (!file_check(s)) {
            lost(s, lines, errno);
            return;
        }
        if (s->regular && s->size && s->size + n > sdk_cfg.log_file_max_bytes)
            file_rotate(s);
        if (s->fd < 0) {
            lost(s, lines, errno);
            return;
        }
    }
    size_t done = 0;
    if (s->torn && !write_all(s, "\n", 1, &done)) {
        lost(s, lines, errno);
        return;
    }
    s->torn = false;
    if (write_all(s, p, n, &done)) {
        s->size += n;
        if (s->told)
            sdk_diag(VANE_OK, "log lines are written to %s again", name_of(s));
        s->told = false;
        return;
    }
    int error = errno;
    uint32_t left = 0;
    for (size_t i = done; i < n; i++)
        left += p[i] == '\n';
    s->torn = done > 0 && p[done - 1] != '\n';
    lost(s, left, error);
}

static void stream_flush(struct sdk_sink *s)
{
    stream_write_out(s, s->buf, s->n, s->n_lines);
    s->n = s->n_lines = 0;
}

static void stream_write(struct sdk_sink *s, const struct sdk_log_line *l, const char *text, size_t n)
{
    (void)l;
    /* A batch must fit the file whole, so that rotation is between lines and no file is over the limit. */
    uint64_t most = s->path[0] && s->regular && sdk_cfg.log_file_max_bytes < sizeof s->buf ? sdk_cfg.log_file_max_bytes
                                                                                           : sizeof s->buf;
    if (s->n + n > most || (s->path[0] && s->regular && s->n && s->size + s->n + n > sdk_cfg.log_file_max_bytes))
        stream_flush(s);
    if (n > most) {
        stream_write_out(s, text, n, 1);
        return;
    }
    memcpy(s->buf + s->n, text, n);
    s->n += (uint32_t)n;
    s->n_lines++;
}

static void stream_reopen(struct sdk_sink *s)
{
    if (!s->path[0])
        return;
    stream_flush(s);
    file_close(s);
    if (!file_open(s))
        lost(s, 0, errno);
}

vane_status sdk_sink_stream_open(struct sdk_sink *s, const char *path)
{
    s->write = stream_write;
    s->flush = stream_flush;
    s->reopen = stream_reopen;
    s->close = file_close;
    if (!path) {
        s->fd = STDERR_FILENO;
        return VANE_OK;
    }
    if (strlen(path) >= sizeof s->path) {
        errno = ENAMETOOLONG;
        return VANE_E_IO;
    }
    memcpy(s->path, path, strlen(path) + 1);
    if (file_open(s))
        return VANE_OK;
    int error = errno;
    file_close(s);
    errno = error;
    return VANE_E_IO;
}

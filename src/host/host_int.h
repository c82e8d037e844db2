/* Inside room host: how collectors read and emit. */
#ifndef VANE_HOST_HOST_INT_H
#define VANE_HOST_HOST_INT_H

#include "base/fs.h"
#include "base/thread.h"
#include "host/host.h"

enum { HOST_FILE_BYTES_MAX = 4 << 20, HOST_LABELS_MAX = 6 };

struct host {
    struct host_config cfg;
    char instance[256], job[128];
    /* of the running collection */
    struct batch *b;
    struct arena *a;
    int64_t ts_ms;
    /* the previous batch's series, for staleness */
    struct arena prev_arena;
    VEC(struct labels) prev;
    /* thread */
    pthread_t thread;
    struct mtx mu;
    struct cond wake;
    bool started, closing;
};

/* A label of an emitted series; the value is borrowed until the batch is done. */
struct host_label {
    const char *name;
    str value;
};
#define HL(n, v) ((struct host_label){ (n), (v) })

/* Append one sample. type/help may be given for each; labels besides job and instance in any order. */
void host_emit(struct host *h, const char *name, enum metric_type type, const char *help, double v,
               const struct host_label *labels, size_t n_labels);
#define host_put(h, name, type, help, v, ...)                                               \
    host_emit((h), (name), (type), (help), (v), (const struct host_label[]){ __VA_ARGS__ }, \
              sizeof((const struct host_label[]){ __VA_ARGS__ }) / sizeof(struct host_label))
#define host_put0(h, name, type, help, v) host_emit((h), (name), (type), (help), (v), NULL, 0)

/* A whole file below the root, in the batch's arena. */
enum err host_read(struct host *h, const char *path, str *ret) MUST_CHECK;
bool host_line(str *rest, str *ret_line);   /* next line without its newline */
bool host_word(str *rest, str *ret_word);   /* next run without blanks */
bool host_word_f64(str *rest, double *ret); /* next word as a number */

enum err host_cpu(struct host *h);
enum err host_stat(struct host *h);
enum err host_loadavg(struct host *h);
enum err host_meminfo(struct host *h);
enum err host_vmstat(struct host *h);
enum err host_pressure(struct host *h);
enum err host_diskstats(struct host *h);
enum err host_filesystem(struct host *h);
enum err host_netdev(struct host *h);
enum err host_sockstat(struct host *h);
enum err host_system(struct host *h);
enum err host_processes(struct host *h);
enum err host_cgroups(struct host *h);

#endif

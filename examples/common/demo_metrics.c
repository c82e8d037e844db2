/* Families of metrics with labels, a mutex each, rendered as Prometheus text; see demo.h. */
#include "demo_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { FAMILIES_MAX = 64, CHILDREN_MAX = 1000, BUCKETS = 14 };

static const double bounds[BUCKETS] = { .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10 };

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct child {
    char labels[256]; /* rendered: method="GET",route="/x" */
    double value;     /* of a histogram: the sum */
    unsigned long long buckets[BUCKETS + 1];
};
struct metric {
    const char *name, *help, *label_names;
    enum kind kind;
    pthread_mutex_t mu;
    struct child *children;
    size_t n;
};

static struct metric families[FAMILIES_MAX];
static size_t n_families;

static struct metric *family(const char *name, const char *help, const char *label_names, enum kind kind)
{
    if (n_families == FAMILIES_MAX)
        abort();
    struct metric *m = &families[n_families++];
    *m = (struct metric){ .name = name, .help = help, .label_names = label_names, .kind = kind };
    pthread_mutex_init(&m->mu, NULL);
    m->children = calloc(CHILDREN_MAX, sizeof(*m->children));
    return m;
}

struct metric *metric_counter(const char *name, const char *help, const char *label_names)
{
    return family(name, help, label_names, COUNTER);
}

struct metric *metric_gauge(const char *name, const char *help, const char *label_names)
{
    return family(name, help, label_names, GAUGE);
}

struct metric *metric_histogram(const char *name, const char *help, const char *label_names)
{
    return family(name, help, label_names, HISTOGRAM);
}

static void render_labels(const struct metric *m, const char *const *values, char out[256])
{
    size_t n = 0;
    const char *name = m->label_names;
    out[0] = '\0';
    for (size_t i = 0; values[i] && *name; i++) {
        size_t len = strcspn(name, ",");
        n += (size_t)snprintf(out + n, 256 - n, "%s%.*s=\"%s\"", i ? "," : "", (int)len, name, values[i]);
        if (n >= 256)
            abort(); /* the demo's own labels are short */
        name += len + (name[len] == ',');
    }
}

/* Under m->mu; NULL when the table is full: the demo's labels are few, the guard is for mistakes. */
static struct child *child_of(struct metric *m, const char *const *values)
{
    char labels[256];
    render_labels(m, values, labels);
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->children[i].labels, labels) == 0)
            return &m->children[i];
    if (m->n == CHILDREN_MAX || !m->children)
        return NULL;
    struct child *c = &m->children[m->n++];
    strcpy(c->labels, labels);
    return c;
}

void metric_add(struct metric *m, double v, const char *const *values)
{
    pthread_mutex_lock(&m->mu);
    struct child *c = child_of(m, values);
    if (c)
        c->value += v;
    pthread_mutex_unlock(&m->mu);
}

void metric_set(struct metric *m, double v, const char *const *values)
{
    pthread_mutex_lock(&m->mu);
    struct child *c = child_of(m, values);
    if (c)
        c->value = v;
    pthread_mutex_unlock(&m->mu);
}

void metric_observe(struct metric *m, double seconds, const char *const *values)
{
    pthread_mutex_lock(&m->mu);
    struct child *c = child_of(m, values);
    if (c) {
        size_t i = 0;
        while (i < BUCKETS && seconds > bounds[i])
            i++;
        c->buckets[i]++;
        c->value += seconds;
    }
    pthread_mutex_unlock(&m->mu);
}

static void render_histogram(FILE *out, const struct metric *m, const struct child *c)
{
    const char *comma = c->labels[0] ? "," : "";
    unsigned long long total = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        total += c->buckets[i];
        fprintf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", m->name, c->labels, comma, bounds[i], total);
    }
    total += c->buckets[BUCKETS];
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", m->name, c->labels, comma, total);
    fprintf(out, "%s_sum{%s} %.9g\n%s_count{%s} %llu\n", m->name, c->labels, c->value, m->name, c->labels, total);
}

static void render_process(FILE *out)
{
    static double started;
    struct rusage ru;
    struct timespec ts;
    if (started == 0) {
        clock_gettime(CLOCK_REALTIME, &ts);
        started = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
    }
    getrusage(RUSAGE_SELF, &ru);
    double cpu =
        (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) + (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f) {
        if (fscanf(f, "%ld %ld", &size, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    long page = sysconf(_SC_PAGESIZE);
    fprintf(out,
            "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
            "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.3f\n"
            "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
            "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %ld\n"
            "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n"
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n",
            cpu, resident * page, started);
}

void demo_render_metrics(FILE *out)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    for (size_t f = 0; f < n_families; f++) {
        struct metric *m = &families[f];
        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, kinds[m->kind]);
        pthread_mutex_lock(&m->mu);
        for (size_t i = 0; i < m->n; i++) {
            const struct child *c = &m->children[i];
            if (m->kind == HISTOGRAM)
                render_histogram(out, m, c);
            else if (c->labels[0])
                fprintf(out, "%s{%s} %.9g\n", m->name, c->labels, c->value);
            else
                fprintf(out, "%s %.9g\n", m->name, c->value);
        }
        pthread_mutex_unlock(&m->mu);
    }
    render_process(out);
}

/* Processes, grouped by command name as process-exporter does (namedprocess_namegroup_*): every group is
 * summed, and the top N by CPU time and the top N by resident memory are emitted. A group's CPU counter is
 * the sum over living processes and falls when one ends: a counter reset, which rate() understands. */
#include "host/host_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"

struct proc_group {
    double user_s, system_s, rss_bytes, virtual_bytes, threads, n;
};

#define MAP_NAME     proc_groups
#define MAP_KEY      str
#define MAP_VALUE    struct proc_group
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

enum { PROCESSES_MAX = 20000 };

struct proc_row {
    str name;
    struct proc_group g;
};

/* /proc/PID/stat: the name is in parentheses and may hold anything; fields count from the last ')'. */
static bool proc_read(struct host *h, struct arena *scratch, str pid, struct proc_groups *groups)
{
    char path[300];
    str text;
    snprintf(path, sizeof(path), "%s/proc/" STR_FMT "/stat", h->cfg.root ? h->cfg.root : "", STR_ARG(pid));
    if (fs_read_file(fs_os(), path, 8192, scratch, &text, NULL) != OK)
        return false; /* it ended meanwhile */
    size_t open = str_find_char(text, '('), close = text.n;
    while (close > 0 && text.p[close - 1] != ')')
        close--;
    if (open == SIZE_MAX || close <= open + 1)
        return false;
    str name = str_n(text.p + open + 1, close - open - 2), rest = str_skip(text, close), word;
    double f[25] = { 0 }; /* f[k]: field k of proc(5), from 3 */
    for (size_t k = 3; k <= 24 && host_word(&rest, &word); k++)
        if (k > 3)
            IGNORE_ERR(num_parse_f64(word, &f[k]) ? OK : ERR_PARSE);
    double hz = (double)sysconf(_SC_CLK_TCK), page = (double)sysconf(_SC_PAGESIZE);
    bool fresh;
    struct proc_group *g = proc_groups_put(groups, name, &fresh);
    g->user_s += f[14] / hz;
    g->system_s += f[15] / hz;
    g->threads += f[20];
    g->virtual_bytes += f[23];
    g->rss_bytes += f[24] * page;
    g->n++;
    return true;
}

static int by_cpu(const void *a, const void *b)
{
    const struct proc_row *x = a, *y = b;
    double cx = x->g.user_s + x->g.system_s, cy = y->g.user_s + y->g.system_s;
    return cx == cy ? str_cmp(x->name, y->name) : cx < cy ? 1 : -1;
}

static int by_memory(const void *a, const void *b)
{
    const struct proc_row *x = a, *y = b;
    return x->g.rss_bytes == y->g.rss_bytes ? str_cmp(x->name, y->name) : x->g.rss_bytes < y->g.rss_bytes ? 1 : -1;
}

static void proc_put(struct host *h, const struct proc_row *r)
{
    str name = arena_str(h->a, r->name);
    host_put(h, "namedprocess_namegroup_cpu_seconds_total", METRIC_COUNTER, "Cpu user usage in seconds", r->g.user_s,
             HL("groupname", name), HL("mode", STR("user")));
    host_put(h, "namedprocess_namegroup_cpu_seconds_total", METRIC_COUNTER, "Cpu user usage in seconds", r->g.system_s,
             HL("groupname", name), HL("mode", STR("system")));
    host_put(h, "namedprocess_namegroup_memory_bytes", METRIC_GAUGE, "number of bytes of memory in use", r->g.rss_bytes,
             HL("groupname", name), HL("memtype", STR("resident")));
    host_put(h, "namedprocess_namegroup_memory_bytes", METRIC_GAUGE, "number of bytes of memory in use",
             r->g.virtual_bytes, HL("groupname", name), HL("memtype", STR("virtual")));
    host_put(h, "namedprocess_namegroup_num_procs", METRIC_GAUGE, "number of processes in this group", r->g.n,
             HL("groupname", name));
    host_put(h, "namedprocess_namegroup_num_threads", METRIC_GAUGE, "number of threads in this group", r->g.threads,
             HL("groupname", name));
}

static void proc_put_top(struct host *h, struct proc_row *rows, size_t n)
{
    size_t top = MIN(n, (size_t)h->cfg.top_processes);
    if (n == 0)
        return;
    qsort(rows, n, sizeof(*rows), by_cpu);
    for (size_t i = 0; i < top; i++)
        proc_put(h, &rows[i]);
    qsort(rows + top, n - top, sizeof(*rows), by_memory); /* the rest: the large ones among them */
    for (size_t i = top; i < MIN(n, top * 2); i++)
        proc_put(h, &rows[i]);
}

enum err host_processes(struct host *h)
{
    char path[300];
    str *names;
    size_t n_names;
    snprintf(path, sizeof(path), "%s/proc", h->cfg.root ? h->cfg.root : "");
    TRY(fs_list(fs_os(), path, h->a, &names, &n_names));
    struct arena scratch;
    arena_init(&scratch, 0);
    struct proc_groups groups = { 0 };
    size_t n_processes = 0;
    for (size_t i = 0; i < n_names && n_processes < PROCESSES_MAX; i++)
        if (names[i].p[0] >= '0' && names[i].p[0] <= '9')
            n_processes += proc_read(h, &scratch, names[i], &groups);
    host_put0(h, "node_processes_pids", METRIC_GAUGE, "Number of PIDs", (double)n_processes);
    VEC(struct proc_row) rows = { 0 };
    map_each (proc_groups, s, &groups)
        avec_push(&scratch, &rows, ((struct proc_row){ s->key, s->value }));
    proc_put_top(h, rows.p, rows.n);
    proc_groups_free(&groups);
    arena_deinit(&scratch);
    return OK;
}

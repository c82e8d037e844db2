/* vane import: a Prometheus data folder or OpenMetrics text into a data folder or a running vane. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "cli/cli_transfer.h"
#include "promql/ast.h"

struct import {
    const struct cli_command *self;
    const char *data, *url, *config;
    int64_t retention_ms; /* -1: the configuration's */
    int64_t from_ms, to_ms;
    bool drop_old, quiet;
    struct matcher *m;
    size_t n_m;
    struct arena a;
    struct cli_config *cfg;
    struct cli_folder folder;
    struct tsdb_bulk *bulk;
    struct cli_remote *remote;
    struct cli_progress progress;
    int64_t oldest; /* retention drops what is older; INT64_MIN: nothing */
    uint64_t old;   /* samples older than that were met */
    struct transfer_sink inner;
    unsigned long long began_ns;
};

enum { OPT_DATA = 256, OPT_URL, OPT_CONFIG, OPT_RETENTION, OPT_START, OPT_END, OPT_MATCH, OPT_DROP_OLD };

static const struct option long_options[] = {
    { "data", required_argument, NULL, OPT_DATA },
    { "url", required_argument, NULL, OPT_URL },
    { "config", required_argument, NULL, OPT_CONFIG },
    { "retention", required_argument, NULL, OPT_RETENTION },
    { "start", required_argument, NULL, OPT_START },
    { "end", required_argument, NULL, OPT_END },
    { "match", required_argument, NULL, OPT_MATCH },
    { "drop-old", no_argument, NULL, OPT_DROP_OLD },
    { "quiet", no_argument, NULL, 'q' },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

static int option_text(struct import *im, int opt)
{
    struct err_text why = { .msg = "" };
    switch (opt) {
    case OPT_DATA:
        im->data = optarg;
        break;
    case OPT_URL:
        im->url = optarg;
        break;
    case OPT_CONFIG:
        im->config = optarg;
        break;
    case OPT_RETENTION:
        if (!num_parse_duration(str_c(optarg), &im->retention_ms))
            return cli_usage(im->self, "--retention is a duration such as 90d (0: for ever), not '%s'", optarg);
        break;
    case OPT_START:
        if (!cli_parse_time_option(optarg, &im->from_ms))
            return cli_usage(im->self, "--start is RFC 3339 or Unix seconds, not '%s'", optarg);
        break;
    case OPT_END:
        if (!cli_parse_time_option(optarg, &im->to_ms))
            return cli_usage(im->self, "--end is RFC 3339 or Unix seconds, not '%s'", optarg);
        break;
    case OPT_MATCH:
        if (im->n_m)
            return cli_usage(im->self, "--match can be given once");
        if (promql_parse_selector(&im->a, str_c(optarg), &im->m, &im->n_m, &why))
            return cli_usage(im->self, "--match '%s': %s", optarg, why.msg);
        break;
    case OPT_DROP_OLD:
        im->drop_old = true;
        break;
    default:
        im->quiet = true;
        break;
    }
    return CLI_OK;
}

static bool parse(struct import *im, int argc, char **argv, int *ret_exit)
{
    for (int opt; (opt = getopt_long(argc, argv, "qh", long_options, NULL)) != -1;) {
        if (cli_option_ends(im->self, opt, ret_exit))
            return false;
        if ((*ret_exit = option_text(im, opt)))
            return false;
    }
    if (argc - optind != 1)
        *ret_exit = cli_usage(im->self, "name what to import");
    else if (!im->data == !im->url)
        *ret_exit =
            cli_usage(im->self, "say where to: --data FOLDER (no vane has it open) or --url URL (a running vane)");
    else if (im->url && (im->config || im->retention_ms >= 0))
        *ret_exit = cli_usage(im->self, "--config and --retention go with --data: a running vane has its own");
    else
        return true;
    return false;
}

/* ---- the other side ---- */
static enum err open_target(struct import *im, struct err_text *reterr)
{
    AUTO_BUF struct buf report = { 0 };
    int64_t keep;
    enum err e = cli_config_load(im->config, &im->cfg, &report, reterr);
    if (e) {
        if (report.n)
            fwrite(report.p, 1, report.n, stderr);
        return e;
    }
    if (im->url) {
        TRY(cli_remote_open(im->url, &im->remote, reterr));
        TRY(cli_remote_retention(im->remote, &keep, reterr));
        im->inner = cli_remote_sink(im->remote);
    } else {
        keep = im->retention_ms >= 0 ? im->retention_ms : im->cfg->retention.time_ms;
        TRY(cli_folder_open(im->data, false, im->cfg, &im->folder, reterr));
        TRY(tsdb_bulk_open(im->folder.db, TSDB_BULK_ANY_AGE, &im->bulk));
        im->inner = transfer_sink_bulk(im->bulk);
    }
    im->oldest = keep ? clock_now_ms(os_clock()) - keep : INT64_MIN;
    return OK;
}

static void close_target(struct import *im)
{
    tsdb_bulk_abort(im->bulk);
    cli_folder_close(&im->folder);
    cli_remote_close(im->remote);
    cli_config_free(im->cfg);
    promql_matchers_deinit(im->m, im->n_m);
    arena_deinit(&im->a);
}

static enum err too_old(const struct import *im, struct err_text *reterr)
{
    AUTO_BUF struct buf t = { 0 };
    buf_rfc3339_ms(&t, im->oldest);
    return err_fail(
        reterr, ERR_TOO_OLD,
        "there are samples older than %.*s, which retention would drop at once. Nothing was imported of them. "
        "Raise the retention (%s), or say --drop-old to import the rest only",
        (int)t.n, t.p,
        im->url ? "of the running vane" : "--retention here, and in the configuration vane will run with");
}

/* Between source and target: retention and range. */
static enum err on_series(void *ctx, const struct tsdb_bulk_series *s, struct err_text *reterr)
{
    struct import *im = ctx;
    struct tsdb_bulk_series x = *s;
    size_t from = 0, to = s->points.n;
    if (im->n_m && !matchers_match(im->m, im->n_m, s->labels))
        return OK;
    while (from < to && s->points.ts[from] < im->from_ms)
        from++;
    while (to > from && s->points.ts[to - 1] > im->to_ms)
        to--;
    size_t first = from;
    while (first < to && s->points.ts[first] < im->oldest)
        first++;
    im->old += first - from;
    if (first > from && !im->drop_old)
        return too_old(im, reterr);
    if (first == to)
        return OK;
    x.points.ts += first;
    x.points.v += first;
    x.points.h = s->points.h ? s->points.h + first : NULL;
    x.points.start_ms = s->points.start_ms ? s->points.start_ms + first : NULL;
    x.points.n = to - first;
    return im->inner.series(im->inner.ctx, &x, reterr);
}

static void on_family(void *ctx, str name, const struct metric_meta *m)
{
    struct import *im = ctx;
    im->inner.family(im->inner.ctx, name, m);
}

static void on_note(void *ctx, const char *text)
{
    struct import *im = ctx;
    cli_progress_end(&im->progress);
    fprintf(stderr, "note: %s\n", text);
}

static void on_progress(void *ctx, double share)
{
    struct import *im = ctx;
    if (!im->quiet)
        cli_progress_at(&im->progress, share);
}

static enum err finish(struct import *im, struct tsdb_bulk_result *ret, struct err_text *reterr)
{
    if (im->remote)
        return cli_remote_flush(im->remote, ret, reterr);
    struct tsdb_bulk *b = im->bulk;
    im->bulk = NULL;
    return tsdb_bulk_commit(b, ret, reterr);
}

static int report(const struct import *im, const struct tsdb_bulk_result *r)
{
    double s = (double)(os_mono_ns() - im->began_ns) / 1e9;
    uint64_t refused =
        r->rejected[TSDB_REJECT_LABELS] + r->rejected[TSDB_REJECT_FUTURE] + r->rejected[TSDB_REJECT_TOO_OLD];
    if (!im->quiet)
        printf("imported %llu samples (%llu native histograms) and %llu exemplars into %llu segments of %llu bytes in "
               "%.1f "
               "s\n",
               (unsigned long long)r->samples, (unsigned long long)r->histograms, (unsigned long long)r->exemplars,
               (unsigned long long)r->segments, (unsigned long long)r->bytes, s);
    if (im->old)
        fprintf(stderr, "note: %llu samples older than retention keeps were left out (--drop-old)\n",
                (unsigned long long)im->old);
    if (refused)
        return cli_fail(
            "%llu samples were refused: %llu because of labels, %llu too old, %llu in the future. First: %s",
            (unsigned long long)refused, (unsigned long long)r->rejected[TSDB_REJECT_LABELS],
            (unsigned long long)r->rejected[TSDB_REJECT_TOO_OLD], (unsigned long long)r->rejected[TSDB_REJECT_FUTURE],
            r->first.msg);
    return CLI_OK;
}

static int run_with(const struct cli_command *self, int argc, char **argv,
                    enum err (*read)(struct import *im, const char *what, const struct transfer_sink *to,
                                     struct err_text *reterr))
{
    struct import im = {
        .self = self, .retention_ms = -1, .from_ms = INT64_MIN, .to_ms = INT64_MAX, .began_ns = os_mono_ns()
    };
    struct tsdb_bulk_result result;
    struct err_text why = { .msg = "" };
    int code = CLI_FAILED;
    arena_init(&im.a, 0);
    if (!parse(&im, argc, argv, &code)) {
        close_target(&im);
        return code;
    }
    struct transfer_sink to = { &im, on_series, on_family };
    cli_progress_start(&im.progress, "importing");
    enum err e = open_target(&im, &why);
    if (!e)
        e = read(&im, argv[optind], &to, &why);
    if (!e)
        e = finish(&im, &result, &why);
    cli_progress_end(&im.progress);
    if (e)
        code = cli_fail("%s%s", why.msg[0] ? why.msg : err_describe(e),
                        im.remote ? " (what was sent before is there; the same import again does no harm)" : "");
    else
        code = report(&im, &result);
    close_target(&im);
    return code;
}

/* ---- prometheus ---- */
static enum err check_age(struct import *im, const struct transfer_prom_facts *f, struct err_text *reterr)
{
    if (f->min_ms > f->max_ms || im->oldest == INT64_MIN || im->drop_old)
        return OK;
    return MAX(f->min_ms, im->from_ms) < im->oldest && im->to_ms >= f->min_ms ? too_old(im, reterr) : OK;
}

static enum err read_prometheus(struct import *im, const char *what, const struct transfer_sink *to,
                                struct err_text *reterr)
{
    struct transfer_prom_config cfg = {
        .ctx = im, .note = on_note, .progress = on_progress, .m = im->m, .n_matchers = im->n_m
    };
    struct transfer_prom_facts facts;
    struct transfer_prom *p;
    TRY(transfer_prom_open(fs_os(), what, &cfg, &p, reterr));
    transfer_prom_facts(p, &facts);
    enum err e = check_age(im, &facts, reterr);
    if (!e)
        e = transfer_prom_read(p, im->from_ms, im->to_ms, to, reterr);
    transfer_prom_close(p);
    return e;
}

static int run_prometheus(const struct cli_command *self, int argc, char **argv)
{
    return run_with(self, argc, argv, read_prometheus);
}

/* ---- openmetrics ---- */
struct text_file {
    gzFile f;
    const char *name;
    int fd;
    uint64_t size;
    struct import *im;
};

static enum err read_file(void *ctx, char *p, size_t n, size_t *ret_n, struct err_text *reterr)
{
    struct text_file *t = ctx;
    int got = gzread(t->f, p, (unsigned)n);
    if (got < 0) {
        int code;
        return err_fail(reterr, code = ERR_CORRUPT, "%s: %s", t->name, gzerror(t->f, &code));
    }
    if (got == 0) {
        int code;
        const char *text = gzerror(t->f, &code);
        if (code != Z_OK && code != Z_STREAM_END)
            return err_fail(reterr, ERR_CORRUPT, "%s: %s", t->name, text);
    }
    *ret_n = (size_t)got;
    if (t->size)
        on_progress(t->im, (double)gzoffset(t->f) / (double)t->size);
    return OK;
}

static enum err read_openmetrics(struct import *im, const char *what, const struct transfer_sink *to,
                                 struct err_text *reterr)
{
    bool from_stdin = strcmp(what, "-") == 0;
    int fd = from_stdin ? dup(STDIN_FILENO) : open(what, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_fail(reterr, ERR_NOT_FOUND, "%s: %s", what, strerror(errno));
    off_t size = from_stdin ? 0 : lseek(fd, 0, SEEK_END);
    if (!from_stdin)
        (void)lseek(fd, 0, SEEK_SET);
    struct text_file t = { gzdopen(fd, "rb"), from_stdin ? "standard input" : what, fd, size > 0 ? (uint64_t)size : 0,
                           im };
    if (!t.f) {
        close(fd);
        return err_fail(reterr, ERR_IO, "%s: cannot be read", what);
    }
    struct transfer_text text = { .ctx = &t, .read = read_file };
    struct transfer_text_result r;
    enum err e = transfer_openmetrics_in(&text, to, &r, reterr);
    if (e && e != ERR_TOO_OLD)
        err_prefix(reterr, "%s", t.name);
    gzclose(t.f);
    if (!e && r.series_refused)
        fprintf(stderr, "note: %llu series were left out because of their labels: %s\n",
                (unsigned long long)r.series_refused, r.first.msg);
    return e;
}

static int run_openmetrics(const struct cli_command *self, int argc, char **argv)
{
    return run_with(self, argc, argv, read_openmetrics);
}

#define TARGET_HELP                                                                                                  \
    "  --data FOLDER         into this data folder, which no vane has open (made if it is not there). All of the "   \
    "import\n"                                                                                                       \
    "                        becomes visible at once at its end; an import that is interrupted leaves nothing "      \
    "behind\n"                                                                                                       \
    "  --url URL             into a running vane (serve --enable-admin-api), part by part; the same again does no "  \
    "harm\n"                                                                                                         \
    "  --config FILE         with --data: limits and retention of this vane.yaml or prometheus.yml\n"                \
    "  --retention DURATION  with --data: what vane will keep (0: for ever), instead of the configuration's 15d\n"   \
    "  --drop-old            leave out what is older than retention keeps. Without it such samples end the import\n" \
    "  --start T, --end T    only samples from T on, up to T (RFC 3339 or Unix seconds)\n"                           \
    "  --match SELECTOR      only series that match, e.g. '{job=\"api\"}'\n"                                         \
    "  -q, --quiet           no progress, no summary\n"                                                              \
    "Samples that are there already (same series, same time) stay as they are.\n"

const struct cli_command cli_import_prometheus = {
    .name = "import prometheus",
    .summary = "import a Prometheus data folder: blocks, log, head chunks",
    .help = "usage: vane import prometheus DIR (--data FOLDER | --url URL) [options]\n"
            "\n"
            "Reads the folder of Prometheus' --storage.tsdb.path (stopped, or a snapshot of a running one), or one "
            "block: blocks\n"
            "with tombstones, write-ahead logs with checkpoints, head chunks, memory snapshots. Every checksum is "
            "verified; damage\n"
            "ends the import with file and offset.\n" TARGET_HELP,
    .run = run_prometheus,
};

const struct cli_command cli_import_openmetrics = {
    .name = "import openmetrics",
    .summary = "import OpenMetrics text with timestamps",
    .help = "usage: vane import openmetrics FILE|- (--data FOLDER | --url URL) [options]\n"
            "\n"
            "Reads OpenMetrics text of any length, plain or gzip; - is standard input. Every sample needs a timestamp, "
            "and the text\n"
            "must end with # EOF. `vane export` writes such text.\n" TARGET_HELP,
    .run = run_openmetrics,
};

static int run_snapshot(const struct cli_command *self, int argc, char **argv)
{
    for (int opt, code; (opt = getopt_long(argc, argv, "qh", long_options, NULL)) != -1;)
        if (cli_option_ends(self, opt, &code))
            return code;
    return cli_fail(
        "a snapshot or backup is a whole data folder: bring it back with `vane restore`, or start `vane serve "
        "--data` on a copy of it. To add its samples to another folder: `vane export --data SNAPSHOT | vane "
        "import openmetrics - --data FOLDER`");
}

const struct cli_command cli_import_snapshot = {
    .name = "import snapshot",
    .summary = "how to bring back a native snapshot",
    .help = "usage: vane import snapshot DIR\n"
            "\n"
            "Refuses, and says what to do instead: a snapshot is a whole data folder.\n",
    .run = run_snapshot,
};

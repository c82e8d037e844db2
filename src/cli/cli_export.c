/* vane export: the metrics of a data folder or a running vane as OpenMetrics text. */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/check.h"
#include "base/num.h"
#include "cli/cli_transfer.h"
#include "promql/ast.h"

#define MATCH_MAX 64

struct export
{
    const struct cli_command *self;
    const char *data, *url, *output;
    int64_t from_ms, to_ms;
    const char *match[MATCH_MAX];
    struct transfer_selector selectors[MATCH_MAX];
    size_t n_match;
    struct arena a;
    gzFile gz;
    FILE *out;
    char *tmp;
    bool failed;
    char tail[16]; /* of what went out */
    size_t n_tail;
    uint64_t bytes;
    struct cli_progress progress;
};

enum { OPT_DATA = 256, OPT_URL, OPT_START, OPT_END, OPT_MATCH };

static const struct option long_options[] = {
    { "data", required_argument, NULL, OPT_DATA },
    { "url", required_argument, NULL, OPT_URL },
    { "start", required_argument, NULL, OPT_START },
    { "end", required_argument, NULL, OPT_END },
    { "match", required_argument, NULL, OPT_MATCH },
    { "output", required_argument, NULL, 'o' },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

static int option_text(struct export *x, int opt)
{
    struct err_text why = { .msg = "" };
    switch (opt) {
    case OPT_DATA:
        x->data = optarg;
        break;
    case OPT_URL:
        x->url = optarg;
        break;
    case 'o':
        x->output = optarg;
        break;
    case OPT_START:
    case OPT_END:
        if (!cli_parse_time_option(optarg, opt == OPT_START ? &x->from_ms : &x->to_ms))
            return cli_usage(x->self, "--start and --end are RFC 3339 or Unix seconds, not '%s'", optarg);
        break;
    default: {
        struct matcher *m;
        size_t n;
        if (x->n_match == MATCH_MAX)
            return cli_usage(x->self, "--match can be given %d times", MATCH_MAX);
        if (promql_parse_selector(&x->a, str_c(optarg), &m, &n, &why))
            return cli_usage(x->self, "--match '%s': %s", optarg, why.msg);
        x->match[x->n_match] = optarg;
        x->selectors[x->n_match++] = (struct transfer_selector){ m, n };
    }
    }
    return CLI_OK;
}

static bool parse(struct export *x, int argc, char **argv, int *ret_exit)
{
    for (int opt; (opt = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1;) {
        if (cli_option_ends(x->self, opt, ret_exit))
            return false;
        if ((*ret_exit = option_text(x, opt)))
            return false;
    }
    if (argc != optind)
        *ret_exit = cli_usage(x->self, "'%s' is one word too many", argv[optind]);
    else if (!x->data == !x->url)
        *ret_exit =
            cli_usage(x->self, "say where from: --data FOLDER (no vane has it open) or --url URL (a running vane)");
    else
        return true;
    return false;
}

/* ---- where to ---- */
static enum err out_open(struct export *x, struct err_text *reterr)
{
    if (!x->output || strcmp(x->output, "-") == 0) {
        x->out = stdout;
        return OK;
    }
    x->tmp = arena_cstr(&x->a, arena_printf(&x->a, "%s.tmp", x->output));
    if (str_has_suffix(str_c(x->output), STR(".gz")))
        x->gz = gzopen(x->tmp, "wb6");
    else
        x->out = fopen(x->tmp, "wb");
    return x->gz || x->out ? OK : err_fail(reterr, ERR_IO, "%s: %s", x->tmp, strerror(errno));
}

static bool out_put(void *ctx, str s)
{
    struct export *x = ctx;
    bool ok = s.n == 0 || (x->gz ? gzwrite(x->gz, s.p, (unsigned)s.n) == (int)s.n : fwrite(s.p, 1, s.n, x->out) == s.n);
    for (size_t i = s.n > sizeof(x->tail) ? s.n - sizeof(x->tail) : 0; i < s.n; i++) {
        if (x->n_tail == sizeof(x->tail))
            memmove(x->tail, x->tail + 1, --x->n_tail);
        x->tail[x->n_tail++] = s.p[i];
    }
    x->bytes += s.n;
    x->failed |= !ok;
    return ok;
}

static enum err out_close(struct export *x, enum err e, struct err_text *reterr)
{
    bool ok = true;
    if (x->gz)
        ok = gzclose(x->gz) == Z_OK;
    else if (x->out == stdout)
        ok = fflush(stdout) == 0;
    else if (x->out) {
        ok = fflush(x->out) == 0 && fsync(fileno(x->out)) == 0;
        ok &= fclose(x->out) == 0;
    }
    if (!e && (!ok || x->failed))
        e = err_fail(reterr, ERR_IO, "cannot write %s: %s", x->output ? x->output : "standard output", strerror(errno));
    if (!x->tmp || (!x->gz && !x->out))
        return e;
    if (e)
        (void)unlink(x->tmp);
    else if (rename(x->tmp, x->output) != 0)
        e = err_fail(reterr, ERR_IO, "%s: %s", x->output, strerror(errno));
    return e;
}

/* ---- where from ---- */
static void say(const struct transfer_export_result *r)
{
    if (r->left_out_histograms)
        fprintf(stderr,
                "note: %llu native histograms were left out: OpenMetrics text has no form for them (`vane backup` "
                "keeps them)\n",
                (unsigned long long)r->left_out_histograms);
    if (r->left_out_stale)
        fprintf(stderr, "note: %llu staleness markers were left out: OpenMetrics text has no form for them\n",
                (unsigned long long)r->left_out_stale);
}

static enum err from_folder(struct export *x, struct err_text *reterr)
{
    struct cli_config *cfg;
    struct cli_folder f;
    struct transfer_export *ex;
    struct transfer_export_config what = { x->selectors, x->n_match, x->from_ms, x->to_ms };
    AUTO_BUF struct buf b = { 0 };
    TRY(cli_config_load(NULL, &cfg, NULL, reterr));
    enum err e = cli_folder_open(x->data, true, cfg, &f, reterr);
    cli_config_free(cfg);
    TRY(e);
    e = transfer_export_open(f.db, &what, &ex, reterr);
    if (!e) {
        struct transfer_export_result r;
        bool more = true;
        while (more && !e) {
            more = transfer_export_next(ex, &b, &e, reterr);
            if (!e && !out_put(x, buf_str(&b)))
                break; /* out_close says why */
            buf_clear(&b);
        }
        transfer_export_result(ex, &r);
        if (!e)
            say(&r);
        if (!e && r.incomplete)
            e = err_fail(reterr, ERR_CORRUPT, "samples are missing: %s", r.why.msg);
        transfer_export_close(ex);
    }
    cli_folder_close(&f);
    return e;
}

static enum err from_url(struct export *x, struct err_text *reterr)
{
    struct cli_remote *r;
    AUTO_BUF struct buf path = { 0 };
    buf_lit(&path, "/api/v1/admin/tsdb/export?format=openmetrics");
    for (size_t i = 0; i < x->n_match; i++) {
        buf_lit(&path, "&match[]=");
        http_url_encode(&path, str_c(x->match[i]));
    }
    if (x->from_ms != INT64_MIN)
        buf_printf(&path, "&start=%.3f", (double)x->from_ms / 1000);
    if (x->to_ms != INT64_MAX)
        buf_printf(&path, "&end=%.3f", (double)x->to_ms / 1000);
    buf_u8(&path, 0);
    TRY(cli_remote_open(x->url, &r, reterr));
    enum err e = cli_remote_get(r, path.p, out_put, x, reterr);
    cli_remote_close(r);
    if (x->failed) /* the transfer was cut because the file cannot be written: out_close says so */
        return OK;
    if (!e && !str_has_suffix(str_n(x->tail, x->n_tail), STR("# EOF\n")))
        e = err_fail(reterr, ERR_CORRUPT, "%s: the text ends before its # EOF: the server's log says why", x->url);
    return e;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct export x = { .self = self, .from_ms = INT64_MIN, .to_ms = INT64_MAX };
    struct err_text why = { .msg = "" };
    int code = CLI_OK;
    arena_init(&x.a, 0);
    if (parse(&x, argc, argv, &code)) {
        enum err e = out_open(&x, &why);
        if (!e)
            e = x.data ? from_folder(&x, &why) : from_url(&x, &why);
        e = out_close(&x, e, &why);
        if (e)
            code = cli_fail("%s", why.msg[0] ? why.msg : err_describe(e));
    }
    for (size_t i = 0; i < x.n_match; i++)
        promql_matchers_deinit((struct matcher *)(uintptr_t)x.selectors[i].m, x.selectors[i].n);
    arena_deinit(&x.a);
    return code;
}

const struct cli_command cli_export = {
    .name = "export",
    .summary = "write metrics as OpenMetrics text",
    .help = "usage: vane export (--data FOLDER | --url URL) [options]\n"
            "\n"
            "Writes all samples with their timestamps as OpenMetrics text: families with TYPE, UNIT and HELP, "
            "exemplars, # EOF at the\n"
            "end. Native histograms and staleness markers, which the text has no form for, are left out and counted on "
            "stderr.\n"
            "  --data FOLDER         of this data folder, which no vane has open\n"
            "  --url URL             of a running vane (serve --enable-admin-api)\n"
            "  --match SELECTOR      only series that match, e.g. '{job=\"api\"}'; several: any of them\n"
            "  --start T, --end T    only samples from T on, up to T (RFC 3339 or Unix seconds)\n"
            "  -o, --output FILE     instead of standard output; gzip if it ends in .gz\n",
    .run = run,
};

/* vane fsck: verifies every byte of a data folder, without writing. */
#include <getopt.h>

#include "base/json.h"
#include "cli/cli.h"
#include "store/store.h"
#include "tsdb/tsdb.h"

struct fsck_run {
    struct cli_progress progress;
    bool verbose;
    struct json_out *json; /* NULL: text */
};

static void on_finding(void *ctx, enum store_finding kind, const char *path, const char *text)
{
    struct fsck_run *r = ctx;
    bool damage = kind == STORE_FINDING_DAMAGE;
    if (r->json) {
        json_obj(r->json);
        json_kstr(r->json, "kind", damage ? STR("damage") : STR("note"));
        json_kstr(r->json, "path", str_c(path));
        json_kstr(r->json, "text", str_c(text));
        json_obj_end(r->json);
    } else if (damage || r->verbose) {
        cli_progress_end(&r->progress);
        printf("%s: %s: %s\n", damage ? "DAMAGE" : "note", path, text);
    }
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_at(&((struct fsck_run *)ctx)->progress, total ? (double)done / (double)total : 1);
}

/* Each signal checks what it wrote itself. */
static enum err check_segment(void *ctx, enum store_signal s, struct segment *seg, struct err_text *reterr)
{
    (void)ctx;
    return s == STORE_METRICS ? tsdb_segment_verify(seg, reterr) : OK;
}

static enum err check_record(void *ctx, enum store_signal s, const struct store_replayed *rec, struct err_text *reterr)
{
    (void)ctx;
    return s == STORE_METRICS ? tsdb_record_verify(rec, reterr) : OK;
}

static enum err check_tombstone(void *ctx, enum store_signal s, str body, struct err_text *reterr)
{
    (void)ctx;
    return s == STORE_METRICS ? tsdb_tombstone_verify(body, reterr) : OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "output", required_argument, NULL, 'o' },
                                             { "verbose", no_argument, NULL, 'v' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    enum cli_output output = CLI_TABLE;
    struct fsck_run r = { 0 };
    for (int opt, code; (opt = getopt_long(argc, argv, "o:vh", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'v')
            r.verbose = true;
        else if (!cli_parse_output(optarg, &output))
            return cli_usage(self, "--output is table or json, not '%s'", optarg);
    }
    if (argc - optind != 1)
        return cli_usage(self, "name one data folder");
    AUTO_BUF struct buf b = { 0 };
    struct json_out j = json_out_init(&b);
    if (output == CLI_JSON) {
        r.json = &j;
        json_obj(&j);
        json_key(&j, STR("findings"));
        json_arr(&j);
    }
    struct store_fsck fsck = { .ctx = &r,
                               .report = on_finding,
                               .progress = on_progress,
                               .segment_check = check_segment,
                               .record_check = check_record,
                               .tombstone_check = check_tombstone };
    struct store_fsck_result result = { 0 };
    struct err_text why = { 0 };
    cli_progress_start(&r.progress, "checking");
    enum err e = store_fsck(fs_os(), argv[optind], &fsck, &result, &why);
    cli_progress_end(&r.progress);
    if (e)
        return cli_fail("%s", why.msg[0] ? why.msg : err_describe(e));
    if (r.json) {
        json_arr_end(&j);
        json_ku64(&j, "segments", result.segments);
        json_ku64(&j, "segment_bytes", result.segment_bytes);
        json_ku64(&j, "pages", result.pages);
        json_ku64(&j, "wal_files", result.wal_files);
        json_ku64(&j, "wal_records", result.records);
        json_ku64(&j, "damages", result.damages);
        json_obj_end(&j);
        printf("%.*s\n", (int)b.n, b.p);
    } else {
        printf("%s: %llu segments (%llu bytes, %llu pages), %llu log files (%llu records): %llu damaged\n",
               argv[optind], (unsigned long long)result.segments, (unsigned long long)result.segment_bytes,
               (unsigned long long)result.pages, (unsigned long long)result.wal_files,
               (unsigned long long)result.records, (unsigned long long)result.damages);
    }
    return result.damages ? CLI_FAILED : CLI_OK;
}

const struct cli_command cli_fsck = {
    .name = "fsck",
    .summary = "verify a data folder",
    .help = "usage: vane fsck DIR [--verbose] [--output table|json]\n"
            "\n"
            "Reads every byte of a data folder that no process has open: MANIFEST, write-ahead log, segments (file "
            "hash, page\n"
            "checksums, structure). Writes nothing. Exit code 0 when all is sound, 1 when something is damaged.\n"
            "  -v, --verbose         also notes that are no damage (a torn tail after a crash)\n",
    .run = run,
};

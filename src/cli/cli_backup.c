/* vane backup: copies of a running server's data, or of a data folder, in one folder (store/backup.h); vane restore.
 *
 * Of a running server: POST /api/v1/admin/tsdb/snapshot makes hard links of everything in its data folder; what is in
 * them is copied, then they are removed. DEST/SNAPSHOT names them meanwhile, so that a backup that was killed does not
 * leave them for ever: the next one removes them. */
#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/json.h"
#include "base/num.h"
#include "base/os.h"
#include "cli/cli.h"
#include "http/http.h"
#include "store/backup.h"

struct run {
    struct cli_progress progress;
    const char *step;
    uint64_t rate_max; /* bytes/s; 0 = as fast as it goes */
    uint64_t began_ns;
    bool quiet;
};

static void on_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    struct run *r = ctx;
    if (r->step != what) {
        cli_progress_end(&r->progress);
        cli_progress_start(&r->progress, what);
        r->step = what;
        r->began_ns = os_mono_ns();
    }
    cli_progress_bytes(&r->progress, done, total);
    if (!r->rate_max)
        return;
    uint64_t spent = (os_mono_ns() - r->began_ns) / 1000000,
             due = (uint64_t)((double)done / (double)r->rate_max * 1000);
    if (due > spent)
        os_sleep_ms((unsigned)MIN(due - spent, (uint64_t)10000));
}

static void on_problem(void *ctx, const char *path, const char *text)
{
    cli_progress_end(&((struct run *)ctx)->progress);
    fprintf(stderr, "DAMAGED: %s: %s\n", path, text);
}

/* ---- a running server ---- */
struct server {
    const char *url, *user, *password_file, *ca_file, *org_id;
};

/* The document at URL/api/v1/PATH, or NULL after a message. */
static json_t *ask(const struct server *server, const char *path, enum http_method method)
{
    const char *base = server->url;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct http_client *client;
    struct http_result result;
    struct err_text why = { 0 };
    str body = { 0 };
    size_t n = strlen(base);
    str url = arena_printf(&a, "%.*s/api/v1/%s", (int)(n && base[n - 1] == '/' ? n - 1 : n), base, path);
    struct http_fetch fetch = { .url = url, .method = method, .timeout_ms = 600000, .body_bytes_max = 1u << 20 };
    struct http_tls tls = { .ca_file = server->ca_file ? str_c(server->ca_file) : STR_NONE };
    fetch.tls = server->ca_file ? &tls : NULL;
    struct http_pair org = { STR("X-Scope-OrgID"), server->org_id ? str_c(server->org_id) : STR_NONE };
    fetch.headers = &org;
    fetch.n_headers = server->org_id != NULL;
    if (server->user) {
        fetch.basic_user = str_c(server->user);
        if (fs_read_file(fs_os(), server->password_file, 4096, &a, &fetch.basic_password, &why)) {
            cli_fail("%s", why.msg);
            return NULL;
        }
        fetch.basic_password = str_trim(fetch.basic_password);
    }
    if (http_client_open(NULL, &client) != OK) {
        cli_fail("cannot start an HTTP client");
        return NULL;
    }
    enum err e = http_fetch_sync(client, &fetch, &a, &result, &body, &why);
    json_t *doc = e ? NULL : json_loadb(body.p, body.n, 0, NULL);
    const char *status = json_string_value(json_object_get(doc, "status")),
               *error = json_string_value(json_object_get(doc, "error"));
    http_client_close(client);
    if (status && strcmp(status, "success") == 0)
        return doc;
    if (e)
        cli_fail("%s: %s", base, why.msg);
    else if (error && strcmp(error, "admin APIs disabled") == 0)
        cli_fail("%s: %s: start it with --enable-admin-api, or stop it and name its folder with --data", base, error);
    else
        cli_fail("%s: %s (status %d)", url.p, error ? error : "no JSON", result.status);
    json_decref(doc);
    return NULL;
}

/* Where the server keeps its data; NULL after a message. */
static const char *server_data(const struct server *server, struct arena *a)
{
    json_t *flags = ask(server, "status/flags", HTTP_GET),
           *info = flags ? ask(server, "status/runtimeinfo", HTTP_GET) : NULL;
    const char *dir = json_string_value(json_object_get(json_object_get(flags, "data"), "storage.tsdb.path")),
               *cwd = json_string_value(json_object_get(json_object_get(info, "data"), "CWD")), *ret = NULL;
    if (dir && dir[0] == '/')
        ret = arena_printf(a, "%s", dir).p;
    else if (dir && cwd)
        ret = arena_printf(a, "%s/%s", cwd, dir).p;
    else if (info)
        cli_fail("%s does not say where its data is: name the folder with --data", server->url);
    json_decref(flags);
    json_decref(info);
    return ret;
}

/* 20171210T211224Z-2be650b6d019eb54: what is removed later must not be a path somewhere else. */
static bool is_name(const char *s)
{
    return strlen(s) == 33 && strspn(s, "0123456789abcdefTZ-") == 33;
}

static const char *note_path(struct arena *a, const char *dest)
{
    return arena_printf(a, "%s/SNAPSHOT", dest).p;
}

/* The snapshot of a backup that was killed. */
static void leftover_remove(const char *dest)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text;
    struct err_text why;
    if (fs_read_file(fs_os(), note_path(&a, dest), 8192, &a, &text, &why))
        return;
    const char *path = arena_cstr(&a, str_trim(text)), *slash = strrchr(path, '/');
    bool ours = slash && is_name(slash + 1) && slash - path >= 10 && memcmp(slash - 10, "/snapshots", 10) == 0;
    if (ours && fs_remove_tree(fs_os(), path))
        fprintf(stderr, "vane: cannot remove %s, the snapshot of an earlier backup\n", path);
    IGNORE_ERR(fs_unlink(fs_os(), note_path(&a, dest)));
}

/* Make a snapshot: its folder, or NULL after a message. */
static const char *snapshot_make(const struct server *server, const char *data, const char *dest, struct arena *a)
{
    json_t *doc = ask(server, "admin/tsdb/snapshot", HTTP_POST);
    const char *name = json_string_value(json_object_get(json_object_get(doc, "data"), "name")), *path = NULL;
    if (name && is_name(name))
        path = arena_printf(a, "%s/snapshots/%s", data, name).p;
    else if (doc)
        cli_fail("%s made a snapshot with a strange name", server->url);
    json_decref(doc);
    if (path && access(path, R_OK | X_OK) != 0) {
        cli_fail("cannot read %s: a backup of a running server is made on its machine, by a user who may read its data "
                 "(--data names the folder if it has another path here)",
                 path);
        return NULL;
    }
    if (path && fs_write_file_atomic(fs_os(), note_path(a, dest), str_c(path)))
        fprintf(stderr, "vane: cannot note %s in %s\n", path, dest);
    return path;
}

/* ---- the command ---- */
struct options {
    const char *dest, *data;
    struct server server; /* url NULL: a folder */
    uint64_t keep;
    bool verify, list, url_given;
    enum cli_output output;
};

static int failed(struct run *r, enum err e, const struct err_text *why)
{
    cli_progress_end(&r->progress);
    return cli_fail("%s", why->msg[0] ? why->msg : err_describe(e));
}

static int show_list(struct backup *b, const struct options *o, struct run *r)
{
    static const char *const heads[] = { "NAME", "TIME", "FILES", "SIZE", "STATE" };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct backup_info *v;
    struct err_text why = { 0 };
    size_t n;
    enum err e = backup_list(b, &a, &v, &n, &why);
    if (e)
        return failed(r, e, &why);
    AUTO_BUF struct buf out = { 0 };
    struct json_out j = json_out_init(&out);
    struct cli_table *t = o->output == CLI_TABLE ? cli_table_new(heads, ARRAY_LEN(heads)) : NULL;
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        AUTO_BUF struct buf time = { 0 };
        buf_rfc3339_ms(&time, v[i].time_ms);
        const char *state = !v[i].readable ? "unreadable" : v[i].problems ? "damaged at the source" : "ok";
        str cells[] = { v[i].name, v[i].readable ? buf_str(&time) : STR("-"),
                        arena_printf(&a, "%llu", (unsigned long long)v[i].files),
                        arena_printf(&a, "%s", cli_size_text((double)v[i].bytes).text), str_c(state) };
        if (t)
            cli_table_row(t, cells);
        json_obj(&j);
        json_kstr(&j, "name", v[i].name);
        json_kstr(&j, "time", cells[1]);
        json_ku64(&j, "files", v[i].files);
        json_ku64(&j, "bytes", v[i].bytes);
        json_ku64(&j, "problems", v[i].problems);
        json_kstr(&j, "state", str_c(state));
        json_obj_end(&j);
    }
    json_arr_end(&j);
    if (t)
        cli_table_print(t, stdout);
    else
        printf("%.*s\n", (int)out.n, out.p);
    return CLI_OK;
}

static int verify(struct backup *b, struct run *r)
{
    struct backup_result res;
    struct err_text why = { 0 };
    enum err e = backup_verify(b, NULL, &res, &why);
    if (e)
        return failed(r, e, &why);
    cli_progress_end(&r->progress);
    printf("%llu files (%s): every byte is as it was copied\n", (unsigned long long)res.files,
           cli_size_text((double)res.bytes).text);
    return CLI_OK;
}

/* 20261121T140000123Z-2be650b6. Names are in order of time, whatever the clock does: not before the newest. */
static const char *new_name(struct backup *b, struct arena *a, int64_t *io_ms)
{
    struct backup_info *v;
    struct err_text why;
    size_t n;
    if (backup_list(b, a, &v, &n, &why) == OK)
        for (size_t i = 0; i < n; i++)
            *io_ms = MAX(*io_ms, v[i].time_ms + 1);
    AUTO_BUF struct buf text = { 0 };
    buf_rfc3339_ms(&text, *io_ms); /* 2026-11-21T14:00:00.123Z, without the fraction where it is 0 */
    const char *t = text.p;
    return arena_printf(a, "%.4s%.2s%.2sT%.2s%.2s%.2s%03dZ-%08x", t, t + 5, t + 8, t + 11, t + 14, t + 17,
                        (int)(*io_ms % 1000), (unsigned)os_random_u64())
        .p;
}

static int make(struct backup *b, const struct options *o, struct run *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct err_text why = { 0 };
    struct backup_result res;
    int64_t now = clock_now_ms(os_clock());
    const char *source = o->data, *name = new_name(b, &a, &now);
    leftover_remove(o->dest);
    if (o->server.url) {
        const char *data = o->data ? o->data : server_data(&o->server, &a);
        source = data ? snapshot_make(&o->server, data, o->dest, &a) : NULL;
        if (!source)
            return CLI_FAILED;
    }
    enum err e = backup_make(b, source, name, now, &res, &why);
    if (o->server.url)
        leftover_remove(o->dest);
    cli_progress_end(&r->progress);
    if (e && e != ERR_CORRUPT)
        return failed(r, e, &why);
    if (e && !res.problems) /* the source as a whole */
        return failed(r, e, &why);
    printf("backup %s: %llu files (%s), copied %llu (%s)\n", name, (unsigned long long)res.files,
           cli_size_text((double)res.bytes).text, (unsigned long long)res.copied_files,
           cli_size_text((double)res.copied_bytes).text);
    if (e)
        return failed(r, e, &why); /* and nothing is thinned out: an earlier one may hold what is damaged now */
    uint64_t gone, bytes;
    if (!o->keep)
        return CLI_OK;
    e = backup_thin(b, o->keep, &gone, &bytes, &why);
    if (e)
        return failed(r, e, &why);
    if (gone)
        printf("%llu older backups deleted, %s freed\n", (unsigned long long)gone, cli_size_text((double)bytes).text);
    return CLI_OK;
}

static int run_backup(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "url", required_argument, NULL, 'u' },
                                             { "user", required_argument, NULL, 'U' },
                                             { "password-file", required_argument, NULL, 'P' },
                                             { "ca-file", required_argument, NULL, 'C' },
                                             { "org-id", required_argument, NULL, 'O' },
                                             { "data", required_argument, NULL, 'd' },
                                             { "keep", required_argument, NULL, 'k' },
                                             { "limit-rate", required_argument, NULL, 'r' },
                                             { "verify", no_argument, NULL, 'V' },
                                             { "list", no_argument, NULL, 'l' },
                                             { "output", required_argument, NULL, 'o' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct options o = { 0 };
    struct run r = { 0 };
    for (int opt, code; (opt = getopt_long(argc, argv, "u:d:k:o:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'u')
            o.server.url = optarg;
        else if (opt == 'U')
            o.server.user = optarg;
        else if (opt == 'P')
            o.server.password_file = optarg;
        else if (opt == 'O')
            o.server.org_id = optarg;
        else if (opt == 'C')
            o.server.ca_file = optarg;
        else if (opt == 'd')
            o.data = optarg;
        else if (opt == 'k' && (!str_to_u64(str_c(optarg), &o.keep) || !o.keep))
            return cli_usage(self, "--keep is a number of backups, at least 1, not '%s'", optarg);
        else if (opt == 'r' && (!num_parse_bytes(str_c(optarg), &r.rate_max) || !r.rate_max))
            return cli_usage(self, "--limit-rate is bytes per second (50MiB), not '%s'", optarg);
        else if (opt == 'V')
            o.verify = true;
        else if (opt == 'l')
            o.list = true;
        else if (opt == 'o' && !cli_parse_output(optarg, &o.output))
            return cli_usage(self, "--output is table or json, not '%s'", optarg);
    }
    if (argc - optind != 1)
        return cli_usage(self, "name the folder of backups");
    o.dest = argv[optind];
    bool makes = !o.verify && !o.list;
    if (!o.server.user != !o.server.password_file)
        return cli_usage(self, "--user and --password-file go together");
    if (makes && !o.server.url && !o.data)
        o.server.url = "http://127.0.0.1:9090";
    struct backup_hooks hooks = { .ctx = &r, .progress = on_progress, .problem = on_problem };
    struct backup *b;
    struct err_text why = { 0 };
    enum err e = backup_open(fs_os(), o.dest, makes, &hooks, &b, &why);
    if (e)
        return failed(&r, e, &why);
    int code = o.list ? show_list(b, &o, &r) : o.verify ? verify(b, &r) : make(b, &o, &r);
    backup_close(b);
    return code;
}

const struct cli_command cli_backup = {
    .name = "backup",
    .summary = "copy a running server's data, or a data folder",
    .help =
        "usage: vane backup DEST [--url URL | --data DIR] [--keep N] [--limit-rate BYTES]\n"
        "       vane backup --list DEST [--output table|json]\n"
        "       vane backup --verify DEST\n"
        "\n"
        "Adds a backup to the folder DEST. What DEST holds already is not copied again. A backup that was cut short "
        "leaves the\n"
        "earlier ones as they are. vane restore puts one back.\n"
        "\n"
        "  -u, --url URL         a server that runs here with --enable-admin-api (default http://127.0.0.1:9090)\n"
        "      --user NAME, --password-file FILE, --ca-file FILE   who asks it, and whom it must be signed by\n"
        "      --org-id TENANT   where there are tenants: the default one\n"
        "  -d, --data DIR        a data folder that no process has open; with --url: where the server's is, if it has\n"
        "                        another path here\n"
        "  -k, --keep N          then delete all but the newest N backups, and what only they held\n"
        "      --limit-rate N    bytes per second (50MiB)\n"
        "      --list            the backups in DEST\n"
        "      --verify          read every byte of all backups in DEST and compare it with its hash\n"
        "\n"
        "Exit code 1: no backup was made, or it was made and holds files that are damaged in the source (named on "
        "stderr);\n"
        "then nothing older is deleted.\n",
    .run = run_backup,
};

static int run_restore(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "backup", required_argument, NULL, 'b' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    const char *name = NULL;
    for (int opt, code; (opt = getopt_long(argc, argv, "b:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        name = optarg;
    }
    if (argc - optind != 2)
        return cli_usage(self, "name the folder of backups and the new data folder");
    struct run r = { 0 };
    struct backup_hooks hooks = { .ctx = &r, .progress = on_progress, .problem = on_problem };
    struct backup *b;
    struct backup_result res;
    struct err_text why = { 0 };
    enum err e = backup_open(fs_os(), argv[optind], false, &hooks, &b, &why);
    if (e)
        return failed(&r, e, &why);
    e = backup_restore(b, name, argv[optind + 1], &res, &why);
    backup_close(b);
    if (e)
        return failed(&r, e, &why);
    cli_progress_end(&r.progress);
    printf("%s: %llu files (%s) restored, every byte verified\n", argv[optind + 1], (unsigned long long)res.files,
           cli_size_text((double)res.bytes).text);
    return CLI_OK;
}

const struct cli_command cli_restore = {
    .name = "restore",
    .summary = "make a data folder from a backup",
    .help =
        "usage: vane restore SRC DATA [--backup NAME]\n"
        "\n"
        "Writes a backup of the folder SRC (see vane backup) to the new data folder DATA, which must be absent or "
        "empty, and\n"
        "reads all of it back: exit code 0 says that every byte has the hash it had in the source. Then: vane serve "
        "--data DATA.\n"
        "A restore that was cut short leaves a folder that vane does not open; run it again.\n"
        "\n"
        "  -b, --backup NAME     which one (vane backup --list SRC; default: the newest)\n"
        "\n"
        "Exit code 1: nothing was restored, or all but damaged files (named on stderr): answers of that folder say "
        "that they\n"
        "are incomplete.\n",
    .run = run_restore,
};

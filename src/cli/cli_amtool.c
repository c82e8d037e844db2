/* See cli_amtool.h. Settings also come from $HOME/.config/amtool/config.yml or /etc/amtool/config.yml. */
#include "cli/cli_amtool.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "cli/cli_am.h"
#include "http/http_config.h"

int amtool_fail(const char *fmt, ...)
{
    va_list ap;
    fputs("amtool: error: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CLI_FAILED;
}

/* ---- the server ---- */
/* Of --http.config.file: an http_config as in alertmanager.yml; lives in h->a. */
static bool read_http_config(struct cli_http *h, const char *path)
{
    AUTO_BUF struct buf report = { 0 };
    struct conf_ctx *cx = arena_new(&h->a, struct conf_ctx);
    void *c = NULL;
    *cx = conf_ctx_init(&h->a, fs_os());
    enum err e = conf_load(cx, path, &http_config_schema, 0, &c);
    conf_diags_print(&report, cx);
    if (e) {
        buf_u8(&report, 0);
        amtool_fail("failed to load HTTP config file: %s", report.p);
        return false;
    }
    const char *slash = strrchr(path, '/');
    http_config_set_dir(&h->a, c, slash ? (str){ path, (size_t)(slash - path) } : STR("."));
    h->config = c;
    return true;
}

bool amtool_open(const struct amtool *t, struct cli_http *h)
{
    int64_t timeout_ms;
    if (!t->url) {
        amtool_fail("required flag --alertmanager.url not provided");
        return false;
    }
    if (!num_parse_duration(str_c(t->timeout), &timeout_ms)) {
        amtool_fail("time: invalid duration \"%s\"", t->timeout);
        return false;
    }
    *h = (struct cli_http){ .prog = "amtool: error", .timeout_ms = timeout_ms };
    if (!cli_http_open(h, t->url))
        return false;
    if (!t->http_config_file || read_http_config(h, t->http_config_file))
        return true;
    cli_http_close(h);
    return false;
}

/* ---- matchers and labels ---- */
/* The first word alone is an alert's name. false after a message. */
static bool read_matchers(struct arena *a, char **words, int n, struct am_matchers *ret)
{
    *ret = (struct am_matchers){ .p = arena_array(a, struct am_matcher, (size_t)n + 1) };
    for (int i = 0; i < n; i++) {
        struct err_text why;
        enum err e = am_matcher_parse(a, str_c(words[i]), AM_FALLBACK, &ret->p[ret->n], &why);
        if (e && i == 0)
            e = am_matcher_init(&ret->p[ret->n], a, AM_EQ, STR("alertname"), str_c(words[i]), &why);
        if (e) {
            amtool_fail("%s", why.msg);
            am_matchers_free(ret);
            return false;
        }
        ret->n++;
    }
    return true;
}

static bool read_time(const char *text, int64_t *ret_ms)
{
    if (strchr(text, 'T') && num_parse_time(str_c(text), ret_ms))
        return true;
    amtool_fail("parsing time \"%s\": RFC 3339 is wanted, as 2006-01-02T15:04:05-07:00", text);
    return false;
}

static json_t *time_json(int64_t ms)
{
    AUTO_BUF struct buf b = { 0 };
    buf_rfc3339_ms(&b, ms);
    return json_stringn(b.p, b.n);
}

/* ---- alert ---- */
static int alert_query(void *options, char **words, int n)
{
    const struct amtool *t = options;
    struct cli_http h;
    struct am_matchers m;
    AUTO_BUF struct buf path = { 0 };
    json_t *all = NULL;
    int code = CLI_FAILED;
    /* Without any of these flags: active ones. */
    bool some = t->inhibited || t->silenced || t->active || t->unprocessed;
    if (!amtool_open(t, &h))
        return CLI_FAILED;
    if (read_matchers(&h.a, words, n, &m)) {
        buf_lit(&path, "/api/v2/alerts");
        cli_am_filters(&path, &m);
        if (t->receiver)
            cli_query_add(&path, "receiver", str_c(t->receiver));
        cli_query_add(&path, "active", !some || t->active ? STR("true") : STR("false"));
        cli_query_add(&path, "silenced", t->silenced ? STR("true") : STR("false"));
        cli_query_add(&path, "inhibited", t->inhibited ? STR("true") : STR("false"));
        cli_query_add(&path, "unprocessed", t->unprocessed ? STR("true") : STR("false"));
        buf_u8(&path, 0);
        if (cli_http_ask(&h, HTTP_GET, path.p, NULL, &all))
            code = amtool_print_alerts(t, all);
        am_matchers_free(&m);
    }
    json_decref(all);
    cli_http_close(&h);
    return code;
}

static json_t *pairs_json(const struct am_matchers *m)
{
    json_t *o = json_object();
    for (size_t i = 0; i < m->n; i++)
        json_object_setn_new(o, m->p[i].name.p, m->p[i].name.n,
                             json_stringn(m->p[i].value.n ? m->p[i].value.p : "", m->p[i].value.n));
    return o;
}

/* name=value only. false after a message. */
static bool read_pairs(struct arena *a, char **words, int n, const char *what, json_t **ret)
{
    struct am_matchers m;
    if (!read_matchers(a, words, n, &m))
        return false;
    bool ok = true;
    for (size_t i = 0; i < m.n; i++)
        ok &= m.p[i].type == AM_EQ;
    if (ok)
        *ret = pairs_json(&m);
    else
        amtool_fail("%s must be specified as key=value pairs", what);
    am_matchers_free(&m);
    return ok;
}

static int alert_add(void *options, char **words, int n)
{
    const struct amtool *t = options;
    struct cli_http h;
    json_t *al = json_object(), *list = json_array(), *labels, *notes, *answer = NULL;
    int64_t start, end;
    int code = CLI_FAILED;
    if (!amtool_open(t, &h)) {
        json_decref(al);
        json_decref(list);
        return CLI_FAILED;
    }
    bool ok = read_pairs(&h.a, words, n, "Labels", &labels);
    if (ok)
        json_object_set_new(al, "labels", labels);
    ok = ok && read_pairs(&h.a, (char **)(uintptr_t)t->annotations.p, (int)t->annotations.n, "Annotations", &notes);
    if (ok)
        json_object_set_new(al, "annotations", notes);
    if (ok && t->generator_url)
        json_object_set_new(al, "generatorURL", json_string(t->generator_url));
    if (ok && t->start && (ok = read_time(t->start, &start)))
        json_object_set_new(al, "startsAt", time_json(start));
    if (ok && t->end && (ok = read_time(t->end, &end)))
        json_object_set_new(al, "endsAt", time_json(end));
    json_array_append_new(list, al);
    if (ok && cli_http_ask(&h, HTTP_POST, "/api/v2/alerts", list, &answer))
        code = CLI_OK;
    json_decref(answer);
    json_decref(list);
    cli_http_close(&h);
    return code;
}

/* ---- silence ---- */
static bool kept(const struct amtool *t, int64_t within_ms, const json_t *s)
{
    int64_t end = 0;
    bool known = num_parse_time(str_c(cli_json_text(s, "endsAt")), &end), over = known && end < t->now_ms;
    if (over != t->expired)
        return false;
    if (within_ms && (over ? end < t->now_ms - within_ms : end > t->now_ms + within_ms))
        return false;
    return (!t->created_by || strcmp(t->created_by, cli_json_text(s, "createdBy")) == 0) &&
           (!t->id || strcmp(t->id, cli_json_text(s, "id")) == 0);
}

static int show_silences(const struct amtool *t, int64_t within_ms, const json_t *all)
{
    json_t *list = json_array(), *s;
    size_t i;
    int code = CLI_OK;
    json_array_foreach((json_t *)(uintptr_t)all, i, s) if (kept(t, within_ms, s)) json_array_append(list, s);
    if (t->quiet)
        json_array_foreach(list, i, s) puts(cli_json_text(s, "id"));
    else
        code = amtool_print_silences(t, list);
    json_decref(list);
    return code;
}

static int silence_query(void *options, char **words, int n)
{
    const struct amtool *t = options;
    struct cli_http h;
    struct am_matchers m;
    AUTO_BUF struct buf path = { 0 };
    json_t *all = NULL;
    int64_t within_ms = 0;
    int code = CLI_FAILED;
    if (t->within && !num_parse_duration(str_c(t->within), &within_ms))
        return amtool_fail("time: invalid duration \"%s\"", t->within);
    if (!amtool_open(t, &h))
        return CLI_FAILED;
    if (read_matchers(&h.a, words, n, &m)) {
        buf_lit(&path, "/api/v2/silences");
        cli_am_filters(&path, &m);
        buf_u8(&path, 0);
        if (cli_http_ask(&h, HTTP_GET, path.p, NULL, &all))
            code = show_silences(t, within_ms, all);
        am_matchers_free(&m);
    }
    json_decref(all);
    cli_http_close(&h);
    return code;
}

static int post_silence(struct cli_http *h, const json_t *silence)
{
    json_t *answer;
    if (!cli_http_ask(h, HTTP_POST, "/api/v2/silences", silence, &answer))
        return CLI_FAILED;
    puts(cli_json_text(answer, "silenceID"));
    json_decref(answer);
    return CLI_OK;
}

/* false after a message. */
static bool read_span(const struct amtool *t, int64_t from, int64_t *ret_from, int64_t *ret_to)
{
    int64_t length;
    *ret_from = from;
    if (t->start && !read_time(t->start, ret_from))
        return false;
    if (t->end) {
        if (!read_time(t->end, ret_to))
            return false;
    } else if (!num_parse_duration(str_c(t->duration), &length)) {
        amtool_fail("not a valid duration string: \"%s\"", t->duration);
        return false;
    } else if (!length) {
        amtool_fail("silence duration must be greater than 0");
        return false;
    } else {
        *ret_to = *ret_from + length;
    }
    if (*ret_from > *ret_to)
        amtool_fail("silence cannot start after it ends");
    return *ret_from <= *ret_to;
}

static const char *user_name(void)
{
    const struct passwd *p = getpwuid(getuid());
    return p ? p->pw_name : "";
}

static int silence_add(void *options, char **words, int n)
{
    struct amtool *t = options;
    struct cli_http h;
    struct am_matchers m;
    int64_t from, to;
    int code = CLI_FAILED;
    if (!n)
        return amtool_fail("no matchers specified");
    if (!t->duration)
        t->duration = "1h";
    if (!read_span(t, t->now_ms, &from, &to))
        return CLI_FAILED;
    if (t->require_comment && !(t->comment && t->comment[0]))
        return amtool_fail("comment required by config");
    if (!amtool_open(t, &h))
        return CLI_FAILED;
    if (read_matchers(&h.a, words, n, &m)) {
        json_t *s = json_pack("{s:o,s:o,s:o,s:s,s:s}", "matchers", cli_am_matchers_json(&m), "startsAt",
                              time_json(from), "endsAt", time_json(to), "createdBy",
                              t->author ? t->author : user_name(), "comment", t->comment ? t->comment : "");
        code = s ? post_silence(&h, s) : amtool_fail("author and comment have to be UTF-8");
        json_decref(s);
        am_matchers_free(&m);
    }
    cli_http_close(&h);
    return code;
}

static char *silence_path(struct cli_http *h, const char *id)
{
    AUTO_BUF struct buf b = { 0 };
    buf_lit(&b, "/api/v2/silence/");
    http_url_encode(&b, str_c(id));
    return arena_cstr(&h->a, buf_str(&b));
}

static int silence_expire(void *options, char **words, int n)
{
    const struct amtool *t = options;
    struct cli_http h;
    int code = CLI_OK;
    if (!n)
        return amtool_fail("no silence IDs specified");
    if (!amtool_open(t, &h))
        return CLI_FAILED;
    for (int i = 0; i < n && code == CLI_OK; i++) {
        int status;
        json_t *doc = cli_http_fetch(&h, HTTP_DELETE, silence_path(&h, words[i]), NULL, &status);
        if (status != 200)
            code = status ? amtool_fail("%s: %s", words[i],
                                        status == 404 ? "silence not found" : cli_http_why(&h, doc, status))
                          : CLI_FAILED;
        json_decref(doc);
    }
    cli_http_close(&h);
    return code;
}

static void strip(json_t *s, bool id)
{
    json_object_del(s, "status");
    json_object_del(s, "updatedAt");
    if (id)
        json_object_del(s, "id");
}

static int import_one(struct cli_http *h, json_t *s, bool force)
{
    int status;
    strip(s, force);
    json_t *doc = cli_http_fetch(h, HTTP_POST, "/api/v2/silences", s, &status);
    if (status == 404) { /* the id is another server's */
        json_decref(doc);
        strip(s, true);
        doc = cli_http_fetch(h, HTTP_POST, "/api/v2/silences", s, &status);
    }
    if (status == 200)
        puts(cli_json_text(doc, "silenceID"));
    else if (status)
        fprintf(stderr, "Error adding silence id='%s': %s\n", cli_json_text(s, "id"), cli_http_why(h, doc, status));
    json_decref(doc);
    return status == 200 ? 0 : 1;
}

static int silence_import(void *options, char **words, int n)
{
    const struct amtool *t = options;
    struct cli_http h;
    json_error_t error;
    json_t *all = n ? json_load_file(words[0], 0, &error) : json_loadf(stdin, 0, &error), *s;
    size_t i;
    int failed = 0;
    if (!json_is_array(all)) {
        json_decref(all);
        return amtool_fail("couldn't unmarshal input data, is it JSON?");
    }
    if (!amtool_open(t, &h)) {
        json_decref(all);
        return CLI_FAILED;
    }
    json_array_foreach(all, i, s) failed += import_one(&h, s, t->force);
    int code = failed ? amtool_fail("couldn't import %d out of %zu silences", failed, json_array_size(all)) : CLI_OK;
    json_decref(all);
    cli_http_close(&h);
    return code;
}

static bool update_one(const struct amtool *t, json_t *s)
{
    int64_t at, from, to;
    if (t->start && (!read_time(t->start, &at) || json_object_set_new(s, "startsAt", time_json(at))))
        return false;
    if (t->end) {
        if (!read_time(t->end, &at) || json_object_set_new(s, "endsAt", time_json(at)))
            return false;
    } else if (t->duration) {
        if (!num_parse_time(str_c(cli_json_text(s, "startsAt")), &from) || !read_span(t, from, &from, &to) ||
            json_object_set_new(s, "endsAt", time_json(to)))
            return false;
    }
    return !t->comment || json_object_set_new(s, "comment", json_string(t->comment)) == 0;
}

static int silence_update(void *options, char **words, int n)
{
    const struct amtool *t = options;
    struct cli_http h;
    json_t *updated = json_array(), *s;
    int code = CLI_OK;
    if (!n || !amtool_open(t, &h)) {
        json_decref(updated);
        return n ? CLI_FAILED : amtool_fail("no silence IDs specified");
    }
    for (int i = 0; i < n && code == CLI_OK; i++) {
        code = CLI_FAILED;
        if (!cli_http_ask(&h, HTTP_GET, silence_path(&h, words[i]), NULL, &s))
            break;
        strip(s, false);
        json_t *answer = NULL;
        if (update_one(t, s) && cli_http_ask(&h, HTTP_POST, "/api/v2/silences", s, &answer)) {
            json_object_set(s, "id", json_object_get(answer, "silenceID"));
            json_array_append(updated, s);
            code = CLI_OK;
        }
        json_decref(answer);
        json_decref(s);
    }
    size_t k;
    if (code == CLI_OK && t->quiet)
        json_array_foreach(updated, k, s) puts(cli_json_text(s, "id"));
    else if (code == CLI_OK)
        code = amtool_print_silences(t, updated);
    json_decref(updated);
    cli_http_close(&h);
    return code;
}

/* ---- status ---- */
static int with_status(const struct amtool *t, int (*print)(const struct amtool *t, const json_t *status))
{
    struct cli_http h;
    json_t *doc = NULL;
    int code = CLI_FAILED;
    if (!amtool_open(t, &h))
        return CLI_FAILED;
    if (cli_http_ask(&h, HTTP_GET, "/api/v2/status", NULL, &doc))
        code = print(t, doc);
    json_decref(doc);
    cli_http_close(&h);
    return code;
}

static int cluster_show(void *options, char **words, int n)
{
    (void)words, (void)n;
    return with_status(options, amtool_print_cluster);
}

static int config_show(void *options, char **words, int n)
{
    (void)words, (void)n;
    return with_status(options, amtool_print_config);
}

/* ---- verbs ---- */
#define AT(member) offsetof(struct amtool, member)
#define TEXT       CLI_FLAG_TEXT
#define BOOL       CLI_FLAG_BOOL
static const struct cli_flag root_flags[] = {
    { "alertmanager.url", 0, TEXT, AT(url), "Alertmanager to talk to." },
    { "output", 'o', TEXT, AT(output), "simple, extended or json." },
    { "timeout", 0, TEXT, AT(timeout), "For the command (30s)." },
    { "http.config.file", 0, TEXT, AT(http_config_file), "http_config: TLS, credentials, proxy." },
    { "date.format", 0, TEXT, AT(date_format), "Layout of dates (2006-01-02 15:04:05 MST)." },
    { "verbose", 'v', BOOL, AT(verbose), NULL },
    { "version-check", 0, BOOL, AT(version_check), NULL },
    { "enable-feature", 0, TEXT, AT(features), NULL },
};
static const struct cli_flag alert_query_flags[] = {
    { "inhibited", 'i', BOOL, AT(inhibited), "Show inhibited alerts." },
    { "silenced", 's', BOOL, AT(silenced), "Show silenced alerts." },
    { "active", 'a', BOOL, AT(active), "Show active alerts." },
    { "unprocessed", 'u', BOOL, AT(unprocessed), "Show unprocessed alerts." },
    { "receiver", 'r', TEXT, AT(receiver), "Receiver to filter by (regular expression)." },
};
static const struct cli_flag alert_add_flags[] = {
    { "generator-url", 0, TEXT, AT(generator_url), "URL of the source." },
    { "start", 0, TEXT, AT(start), "When it began (RFC 3339)." },
    { "end", 0, TEXT, AT(end), "When it ends (RFC 3339)." },
    { "annotation", 0, CLI_FLAG_LIST, AT(annotations), "key=value, may be repeated." },
};
static const struct cli_flag silence_query_flags[] = {
    { "expired", 0, BOOL, AT(expired), "Show expired silences instead of active ones." },
    { "quiet", 'q', BOOL, AT(quiet), "Only ids." },
    { "created-by", 0, TEXT, AT(created_by), "Of this creator." },
    { "id", 0, TEXT, AT(id), "One silence." },
    { "within", 0, TEXT, AT(within), "Expiring, or expired, within a duration." },
};
static const struct cli_flag silence_add_flags[] = {
    { "author", 'a', TEXT, AT(author), "Who (the user's name)." },
    { "require-comment", 0, BOOL, AT(require_comment), NULL },
    { "duration", 'd', TEXT, AT(duration), "How long (1h)." },
    { "start", 0, TEXT, AT(start), "When it begins (RFC 3339)." },
    { "end", 0, TEXT, AT(end), "When it ends (RFC 3339), instead of a duration." },
    { "comment", 'c', TEXT, AT(comment), "Why." },
};
static const struct cli_flag silence_import_flags[] = {
    { "force", 'f', BOOL, AT(force), "New silences even where ids exist." },
    { "worker", 'w', TEXT, AT(workers), NULL },
};
static const struct cli_flag silence_update_flags[] = {
    { "quiet", 'q', BOOL, AT(quiet), "Only ids." },
    { "duration", 'd', TEXT, AT(duration), "How long, from its start." },
    { "start", 0, TEXT, AT(start), "When it begins (RFC 3339)." },
    { "end", 0, TEXT, AT(end), "When it ends (RFC 3339)." },
    { "comment", 'c', TEXT, AT(comment), "Why." },
};
static const struct cli_flag routes_flags[] = { { "config.file", 0, TEXT, AT(config_file),
                                                  "A file, not the server." } };
static const struct cli_flag routes_test_flags[] = {
    { "verify.receivers", 0, TEXT, AT(verify_receivers), "Exit code 1 unless these are told." },
    { "tree", 0, BOOL, AT(tree), "Draw the routes that match." },
};
#define FLAGS(f) .flags = (f), .n_flags = ARRAY_LEN(f)
#define SUBS(s)  .subs = (s), .n_subs = ARRAY_LEN(s)
#define ARGS(a)  .args = { a }, .n_args = 1
static const struct cli_verb alert_verbs[] = {
    { "query", "View and search through current alerts.", FLAGS(alert_query_flags), ARGS("matcher-groups..."),
      .run = alert_query },
    { "add", "Add a new alert.", FLAGS(alert_add_flags), ARGS("labels..."), .run = alert_add },
};
static const struct cli_verb silence_verbs[] = {
    { "query", "Query Alertmanager silences.", FLAGS(silence_query_flags), ARGS("matcher-groups..."),
      .run = silence_query },
    { "add", "Add a new silence.", FLAGS(silence_add_flags), ARGS("matcher-groups..."), .run = silence_add },
    { "expire", "Expire silences.", ARGS("silence-ids..."), .run = silence_expire },
    { "import", "Import silences from a JSON file or stdin.", FLAGS(silence_import_flags), ARGS("input-file"),
      .run = silence_import },
    { "update", "Update silences.", FLAGS(silence_update_flags), ARGS("update-ids..."), .run = silence_update },
};
static const struct cli_verb cluster_verbs[] = { { "show", "Status of the cluster.", .run = cluster_show } };
static const struct cli_verb routes_verbs[] = {
    { "show", "Print the routing tree.", .run = amtool_routes_show },
    { "test", "Which receivers alerts with these labels reach.", FLAGS(routes_test_flags), ARGS("labels..."),
      .run = amtool_routes_test },
};
static const struct cli_verb config_verbs[] = {
    { "show", "View the running configuration.", .run = config_show },
    { "routes", "The routing tree.", FLAGS(routes_flags), SUBS(routes_verbs), .has_default = true },
};
static const struct cli_verb verbs[] = {
    { "alert", "Add or query alerts.", SUBS(alert_verbs), .has_default = true },
    { "silence", "Add, expire or view silences.", SUBS(silence_verbs), .has_default = true },
    { "check-config", "Validate alertmanager config files.", ARGS("check-files..."), .run = amtool_check_config },
    { "cluster", "View cluster status.", SUBS(cluster_verbs), .has_default = true },
    { "config", "View configuration and routes.", SUBS(config_verbs), .has_default = true },
};
static const struct cli_verb root = { "amtool",
                                      "View and modify the current Alertmanager state (vane under the name "
                                      "amtool).",
                                      FLAGS(root_flags), SUBS(verbs) };

/* ---- settings from files: flags under their names ---- */
static void read_settings(struct arena *a, const char *path, struct amtool *t)
{
    const struct {
        const char *key, **to;
    } texts[] = { { "alertmanager.url", &t->url }, { "author", &t->author },
                  { "output", &t->output },        { "date.format", &t->date_format },
                  { "timeout", &t->timeout },      { "http.config.file", &t->http_config_file } };
    struct conf_ctx cx = conf_ctx_init(a, fs_os());
    struct conf_node *top;
    if (conf_read(&cx, path, 0, &top) != OK) {
        struct err_text why;
        conf_first_error(&cx, &why);
        fprintf(stderr, "amtool: %s\n", why.msg);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const struct conf_node *v = conf_get(top, str_c(texts[i].key));
        if (v && v->kind == CONF_SCALAR)
            *texts[i].to = arena_cstr(a, v->text);
    }
    const struct conf_node *required = conf_get(top, STR("require-comment"));
    if (!required)
        required = conf_get(top, STR("comment_required")); /* its former name */
    if (required && required->kind == CONF_SCALAR)
        t->require_comment = str_eq(required->text, STR("true"));
}

/* The user's file, or else the machine's. */
static void read_files(struct arena *a, struct amtool *t)
{
    const char *home = getenv("HOME");
    const char *paths[] = { home ? arena_printf(a, "%s/.config/amtool/config.yml", home).p : "",
                            "/etc/amtool/config.yml" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (access(paths[i], R_OK) == 0) {
            read_settings(a, paths[i], t);
            return;
        }
}

int cli_amtool_main(int argc, char **argv)
{
    struct amtool t = { .output = "simple",
                        .timeout = "30s",
                        .date_format = "2006-01-02 15:04:05 MST",
                        .require_comment = true,
                        .version_check = true,
                        .now_ms = os_now_ms() };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    read_files(&a, &t);
    int code = cli_flags_run("amtool", &root, &t, argc, argv);
    mem_free(t.annotations.p);
    return code;
}

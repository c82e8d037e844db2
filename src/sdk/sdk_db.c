/* libvane's database side: query spans with sanitised text, query metrics, pool gauges (include/vane/http.h). */
#include "sdk_http.h"

enum { M_SECONDS, M_ERRORS, M_POOL_ACTIVE, M_POOL_IDLE, M_POOL_MAX, M_POOL_FAILED, M_N };
static const double second_bounds[] = { 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10 };
static struct sdk_own_metric instruments[M_N] = {
    { VANE_HISTOGRAM, "database_query_duration_seconds", "seconds", "Duration of database queries.",
      "system,operation,collection", second_bounds, SDK_COUNT_OF(second_bounds), 0, 0 },
    { VANE_COUNTER, "database_errors_total", NULL, "Database queries that failed.", "system,operation,error_type", NULL,
      0, 0, 0 },
    { VANE_GAUGE, "database_connections_active", NULL, "Connections of the pool in use.", "pool", NULL, 0, 0, 0 },
    { VANE_GAUGE, "database_connections_idle", NULL, "Connections of the pool not in use.", "pool", NULL, 0, 0, 0 },
    { VANE_GAUGE, "database_connections_max", NULL, "Connections the pool may have.", "pool", NULL, 0, 0, 0 },
    { VANE_COUNTER, "database_connections_failed_total", NULL, "Connections that could not be made.", "pool", NULL, 0,
      0, 0 },
};

#define COLLECTION_MAX 64u
#define NAME_MAX_      128u
#define SYSTEM_MAX     32u

/* ---- reading SQL ---- */

enum token { T_END, T_SPACE, T_WORD, T_LITERAL, T_OTHER };

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           (c & 0x80);
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Past a literal or name in quotes, which begins at s[i]; a doubled quote stands for one. */
static size_t past_quoted(const char *s, size_t i, size_t n, bool backslash)
{
    char quote = s[i];
    for (i++; i < n; i++) {
        if (backslash && s[i] == '\\')
            i++;
        else if (s[i] == quote && i + 1 < n && s[i + 1] == quote)
            i++;
        else if (s[i] == quote)
            return i + 1;
    }
    return n;
}

static size_t past_comment(const char *s, size_t i, size_t n)
{
    unsigned depth = 1; /* they nest in PostgreSQL; elsewhere the outermost end is taken late, which hides more */
    for (i += 2; i < n && depth; i++) {
        if (s[i] == '*' && i + 1 < n && s[i + 1] == '/')
            depth--, i++;
        else if (s[i] == '/' && i + 1 < n && s[i + 1] == '*')
            depth++, i++;
    }
    return i < n ? i : n;
}

/* Past "$tag$...$tag$"; i when there is none. */
static size_t past_dollar(const char *s, size_t i, size_t n)
{
    size_t tag = i + 1;
    while (tag < n && word_char(s[tag]) && s[tag] != '$')
        tag++;
    if (tag >= n || s[tag] != '$' || digit(s[i + 1]))
        return i;
    size_t len = tag + 1 - i;
    for (size_t k = tag + 1; k + len <= n; k++)
        if (!memcmp(s + k, s + i, len))
            return k + len;
    return n;
}

static size_t past_number(const char *s, size_t i, size_t n)
{
    if (s[i] == '0' && i + 1 < n && (s[i + 1] | 32) == 'x') {
        i += 2;
        while (i < n && word_char(s[i]))
            i++;
        return i;
    }
    while (i < n && (word_char(s[i]) || s[i] == '.' || ((s[i] == '+' || s[i] == '-') && (s[i - 1] | 32) == 'e')))
        i++;
    return i;
}

/* The next token: its end. Comments count as space. */
static size_t next_token(const char *s, size_t i, size_t n, bool mysql, enum token *ret)
{
    *ret = T_END;
    if (i >= n)
        return n;
    char c = s[i], d = i + 1 < n ? s[i + 1] : 0;
    *ret = T_SPACE;
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == 0)
        return i + 1;
    if ((c == '-' && d == '-') || (mysql && c == '#')) {
        while (i < n && s[i] != '\n')
            i++;
        return i;
    }
    if (c == '/' && d == '*')
        return past_comment(s, i, n);
    *ret = T_LITERAL;
    if (c == '\'' || (mysql && c == '"'))
        return past_quoted(s, i, n, mysql);
    if ((c | 32) == 'e' && d == '\'')
        return past_quoted(s, i + 1, n, true);
    if (((c | 32) == 'x' || (c | 32) == 'b' || (c | 32) == 'n') && d == '\'')
        return past_quoted(s, i + 1, n, mysql);
    if ((c | 32) == 'u' && d == '&' && i + 2 < n && s[i + 2] == '\'')
        return past_quoted(s, i + 2, n, false);
    if (c == '$') {
        size_t end = past_dollar(s, i, n);
        if (end > i)
            return end;
    }
    if (digit(c) || (c == '.' && digit(d)))
        return past_number(s, i, n);
    *ret = T_WORD;
    if (c == '"' || c == '`')
        return past_quoted(s, i, n, false);
    if (word_char(c)) {
        while (i < n && word_char(s[i]))
            i++;
        return i;
    }
    *ret = T_OTHER;
    return i + 1;
}

struct out {
    char *p;
    size_t n, cap, need;
};

static void put(struct out *o, const char *s, size_t n)
{
    o->need += n;
    for (size_t i = 0; i < n && o->n + 1 < o->cap; i++)
        o->p[o->n++] = s[i];
}

/* How many tokens of a list of literals, "?, ?, ...", follow at i; *ret_end is behind it. */
static size_t list_end(const char *s, size_t i, size_t n, bool mysql)
{
    size_t good = i;
    bool want_comma = true;
    for (;;) {
        enum token t;
        size_t end = next_token(s, i, n, mysql, &t);
        if (t == T_SPACE) {
            i = end;
            continue;
        }
        if (want_comma ? !(t == T_OTHER && s[i] == ',') : !(t == T_LITERAL || (t == T_OTHER && s[i] == '?')))
            return good;
        want_comma = !want_comma;
        i = end;
        if (want_comma)
            good = end;
    }
}

/* Behind the groups "(?), (?)" that follow a group of literals only. */
static size_t groups_end(const char *s, size_t i, size_t n, bool mysql)
{
    size_t good = i;
    for (;;) {
        unsigned at = 0; /* , ( ? ) */
        while (at < 4) {
            enum token t;
            size_t end = next_token(s, i, n, mysql, &t);
            if (t != T_SPACE) {
                bool fits =
                    at == 2 ? t == T_LITERAL || (t == T_OTHER && s[i] == '?') : t == T_OTHER && s[i] == ",( )"[at];
                if (!fits)
                    return good;
                if (at == 2)
                    end = list_end(s, end, n, mysql);
                at++;
            }
            i = end;
        }
        good = i;
    }
}

static size_t sanitize(const char *s, size_t n, char *buf, size_t cap, bool mysql)
{
    struct out o = { buf, 0, cap, 0 };
    bool space = false, open = false, only = false; /* only: a group that holds literals and nothing else so far */
    for (size_t i = 0; i < n;) {
        enum token t;
        size_t end = next_token(s, i, n, mysql, &t);
        if (t == T_SPACE) {
            space = o.need > 0;
            i = end;
            continue;
        }
        if (space)
            put(&o, " ", 1);
        space = false;
        if (t == T_LITERAL || (t == T_OTHER && s[i] == '?')) {
            put(&o, "?", 1);
            end = list_end(s, end, n, mysql);
            only = open;
        } else {
            put(&o, s + i, end - i);
            if (only && s[i] == ')')
                end = groups_end(s, end, n, mysql);
            only = false;
        }
        open = t == T_OTHER && s[i] == '(';
        i = end;
    }
    if (cap)
        buf[o.n] = 0;
    return o.need;
}

#define TEXT_MAX 8192

/* At most TEXT_MAX bytes, not cut inside a character. */
static size_t text_length(const char *text)
{
    size_t n = strnlen(text, TEXT_MAX + 1);
    if (n > TEXT_MAX)
        for (n = TEXT_MAX; n && ((unsigned char)text[n] & 0xC0) == 0x80;)
            n--;
    return n;
}

size_t vane_db_sanitize(const char *text, char *buf, size_t n)
{
    if (!text || (!buf && n)) {
        if (buf && n)
            buf[0] = 0;
        return 0;
    }
    return sanitize(text, text_length(text), buf, n, false);
}

static bool same_word(const char *s, size_t n, const char *upper)
{
    for (size_t i = 0; i < n; i++)
        if (!upper[i] || (s[i] >= 'a' && s[i] <= 'z' ? (char)(s[i] & ~32) : s[i]) != upper[i])
            return false;
    return upper[n] == 0;
}

/* The operation (a constant) and the first table it names. */
static const char *summary(const char *s, size_t n, bool mysql, char *collection, size_t cap)
{
    static const char *const operations[] = { "SELECT", "INSERT",   "UPDATE",    "DELETE",   "MERGE",  "REPLACE",
                                              "CREATE", "ALTER",    "DROP",      "TRUNCATE", "BEGIN",  "START",
                                              "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE",  "PRAGMA", "COPY",
                                              "CALL",   "EXPLAIN",  "ANALYZE",   "VACUUM",   "SET",    "SHOW",
                                              "LISTEN", "NOTIFY",   "LOCK",      "ATTACH" };
    const char *operation = NULL;
    bool next_is_name = false, with = false;
    unsigned depth = 0, words = 0;
    collection[0] = 0;
    for (size_t i = 0, end; i < n; i = end) {
        enum token t;
        end = next_token(s, i, n, mysql, &t);
        if (t == T_OTHER) {
            depth += s[i] == '(';
            depth -= s[i] == ')' && depth;
            next_is_name = false; /* FROM (SELECT ...): the name inside counts */
        }
        if (t != T_WORD)
            continue;
        size_t len = end - i;
        if (next_is_name) {
            if (same_word(s + i, len, "IF") || same_word(s + i, len, "NOT") || same_word(s + i, len, "EXISTS") ||
                same_word(s + i, len, "ONLY") || same_word(s + i, len, "OR") || same_word(s + i, len, "IGNORE"))
                continue;
            /* "schema.table", quotes dropped */
            size_t at = 0;
            for (;;) {
                for (size_t k = i; k < end && at + 1 < cap; k++)
                    if (s[k] != '"' && s[k] != '`')
                        collection[at++] = s[k];
                if (end + 1 >= n || s[end] != '.' || at + 1 >= cap)
                    break;
                collection[at++] = '.';
                i = end + 1;
                end = next_token(s, i, n, mysql, &t);
                if (t != T_WORD)
                    break;
            }
            collection[at] = 0;
            return operation ? operation : "OTHER";
        }
        if (!operation && (words == 0 || depth == 0))
            for (size_t k = 0; k < SDK_COUNT_OF(operations); k++)
                if (same_word(s + i, len, operations[k]))
                    operation = operations[k];
        if (words++ == 0 && !operation && !(with = same_word(s + i, len, "WITH")))
            return "OTHER";
        if (with && depth) /* what the parts of WITH read is not what the statement is about */
            continue;
        next_is_name = same_word(s + i, len, "FROM") || same_word(s + i, len, "INTO") ||
                       same_word(s + i, len, "UPDATE") || same_word(s + i, len, "TABLE") ||
                       same_word(s + i, len, "COPY") || same_word(s + i, len, "CALL");
    }
    return operation ? operation : "OTHER";
}

/* ---- queries ---- */

/* What its text says of a statement: the same each time, so it is read twice at most. */
struct statement {
    const char *operation;
    char collection[COLLECTION_MAX], name[NAME_MAX_];
};

#define KEPT_TEXT_MAX 448u
struct kept {
    struct sdk_kept kept;
    char key[KEPT_TEXT_MAX];
    struct statement s;
    struct sdk_bound seconds;
    char clean[KEPT_TEXT_MAX + 1]; /* never longer than the text */
};
static struct kept kept[128];

static void read_statement(struct statement *s, const char *text, size_t n, bool mysql)
{
    s->operation = summary(text, n, mysql, s->collection, sizeof s->collection);
    size_t at = sdk_copy(s->name, sizeof s->name, s->operation);
    if (s->collection[0]) {
        s->name[at++] = ' ';
        sdk_copy(s->name + at, sizeof s->name - at, s->collection);
    }
}

#define MAGIC_DB 0x76616e654442515fu
struct query {
    uint64_t magic;
    vane_span span;
    uint64_t start_ns;
    struct kept *kept; /* NULL: own */
    const struct statement *s;
    uint32_t run;
    bool spanned;
    char system[SYSTEM_MAX];
    struct statement own;
};
_Static_assert(sizeof(struct query) <= sizeof(vane_db_query), "VANE_HTTP_WORDS");

static void query_attrs(struct sdk_attrs *l, const struct query *q, const char *name)
{
    sdk_attr_str(l, "db.system.name", q->system);
    sdk_attr_str(l, "db.operation.name", q->s->operation);
    sdk_attr_str(l, "db.namespace", name);
    sdk_attr_str(l, "db.collection.name", q->s->collection);
}

static void begin_span(struct query *q, const char *name, const char *text, size_t n, bool mysql)
{
    struct sdk_attrs l;
    l.n = 0;
    if (sdk_attrs_first())
        query_attrs(&l, q, name);
    sdk_span_begin(&q->span, q->s->name, VANE_SPAN_CLIENT, NULL, &l);
    q->spanned = true;
    if (!vane_span_recording(&q->span))
        return;
    if (l.n)
        l.n = 0;
    else
        query_attrs(&l, q, name);
    char own[2048], *clean = q->kept ? q->kept->clean : own;
    if (!q->kept)
        sanitize(text, n, own, sizeof own, mysql);
    sdk_attr_str(&l, "db.query.text", clean);
    vane_span_set_all(&q->span, l.a, l.n);
}

void vane_db_begin(vane_db_query *x, const char *system, const char *name, const char *text)
{
    if (!x)
        return;
    struct query *q = (struct query *)(void *)x;
    memset(q, 0, offsetof(struct query, span) + 16);
    if (!sdk_on())
        return;
    memset(&q->start_ns, 0, offsetof(struct query, system) - offsetof(struct query, start_ns));
    q->run = atomic_load_explicit(&sdk_run, memory_order_relaxed);
    size_t system_n = sdk_copy(q->system, sizeof q->system, system && system[0] ? system : "other_sql");
    bool mysql = q->system[0] == 'm' && (!strcmp(q->system, "mysql") || !strcmp(q->system, "mariadb"));
    text = text ? text : "";
    size_t n = text_length(text);
    static const struct sdk_kept_table table = { kept, SDK_COUNT_OF(kept), sizeof *kept, KEPT_TEXT_MAX };
    uint64_t add;
    struct kept *k = q->kept = sdk_kept(&table, q->system, system_n, text, n, &add);
    q->s = k ? &k->s : &q->own;
    if (!k)
        read_statement(&q->own, text, n, mysql);
    if (k && add) {
        read_statement(&k->s, text, n, mysql);
        sanitize(text, n, k->clean, sizeof k->clean, mysql);
        sdk_kept_added(k, add);
    }
    if (sdk_has_tracing())
        begin_span(q, name, text, n, mysql);
    q->start_ns = sdk_mono_ns();
    q->magic = MAGIC_DB;
}

void vane_db_end(vane_db_query *x, const char *error_type, int64_t rows)
{
    struct query *q = (struct query *)(void *)x;
    if (!q)
        return;
    if (q->magic != MAGIC_DB) {
        if (sdk_on())
            sdk_count(SDK_SPAN_MISUSE, 1);
        return;
    }
    q->magic = 0;
    bool failed = error_type && error_type[0];
    if (q->run == atomic_load_explicit(&sdk_run, memory_order_relaxed) && sdk_has_metrics()) {
        vane_histogram h = { sdk_bound(q->kept ? &q->kept->seconds : NULL, &instruments[M_SECONDS],
                                       VANE_LABELS(q->system, q->s->operation, q->s->collection)) };
        vane_histogram_observe(h, (double)(sdk_mono_ns() - q->start_ns) / 1e9);
        if (failed)
            vane_counter_add_to(sdk_own_metric(&instruments[M_ERRORS]), 1,
                                VANE_LABELS(q->system, q->s->operation, error_type));
    }
    if (!q->spanned)
        return;
    struct sdk_attrs l;
    l.n = 0;
    sdk_attr_int(&l, "db.response.returned_rows", rows);
    sdk_attr_str(&l, "error.type", error_type);
    vane_span_set_all(&q->span, l.a, l.n);
    if (failed)
        vane_span_status(&q->span, VANE_SPAN_ERROR, NULL);
    vane_span_end(&q->span);
}

void vane_db_pool(const char *pool, int64_t active, int64_t idle, int64_t max)
{
    static struct pool {
        struct sdk_kept kept;
        char key[64];
        struct sdk_bound bound[3];
    } pools[16];
    static const struct sdk_kept_table table = { pools, SDK_COUNT_OF(pools), sizeof *pools, sizeof pools->key };
    if (!sdk_on() || !sdk_has_metrics())
        return;
    pool = pool ? pool : "";
    uint64_t add;
    struct pool *p = sdk_kept(&table, "", 0, pool, strlen(pool), &add);
    if (p && add)
        sdk_kept_added(p, add);
    const int64_t v[3] = { active, idle, max };
    for (unsigned i = 0; i < 3; i++)
        if (v[i] >= 0)
            vane_gauge_set(
                (vane_gauge){ sdk_bound(p ? p->bound + i : NULL, &instruments[M_POOL_ACTIVE + i], VANE_LABELS(pool)) },
                (double)v[i]);
}

void vane_db_connect_failed(const char *pool)
{
    if (sdk_on() && sdk_has_metrics())
        vane_counter_add_to(sdk_own_metric(&instruments[M_POOL_FAILED]), 1, VANE_LABELS(pool));
}

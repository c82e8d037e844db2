/* Strict YAML configuration: text -> tree with positions -> C structs described by tables -> YAML again.
 *
 *   AUTO_ARENA struct arena a; arena_init(&a, 0);
 *   struct conf_ctx cx = conf_ctx_init(&a, fs_os());
 *   struct thing *t;
 *   if (conf_load(&cx, "thing.yml", &thing_schema, 0, (void **)&t) != OK) conf_diags_print(&out, &cx);
 *
 * Every error names file, line and column and shows the line with a caret:
 *   prometheus.yml:3:3: field scrape_intervall not found in type config.GlobalConfig, did you mean "scrape_interval"?
 *       3 |   scrape_intervall: 15s
 *         |   ^
 * Decoding goes on after an error (up to CONF_DIAGS_MAX), so that one run shows all of them.
 * Bounds: CONF_BYTES_MAX per file, CONF_NODES_MAX nodes (aliases count each time), CONF_DEPTH_MAX levels;
 * alias cycles are refused. YAML 1.1 as libyaml reads it, values typed as Go's yaml does (yes/no are no bools
 * unless the field is one). Spec: yaml.org/spec/1.1.
 * Memory: everything lives in ctx->a, except compiled regexes: conf_regex_free(), or conf_ctx_release() for all.
 * Threads: a context belongs to one thread; decoded structs are read-only afterwards. */
#ifndef VANE_CONF_CONF_H
#define VANE_CONF_CONF_H

#include "base/buf.h"
#include "base/fs.h"
#include "base/rx.h"
#include "base/vec.h"

#define CONF_BYTES_MAX (16u << 20)
#define CONF_NODES_MAX 1000000u
#define CONF_DEPTH_MAX 100u
#define CONF_DIAGS_MAX 20u

/* ---- trees ---- */
enum conf_node_kind { CONF_NULL, CONF_SCALAR, CONF_SEQ, CONF_MAP };
struct conf_doc { /* one parsed file */
    str file, text;
};
struct conf_node {
    enum conf_node_kind kind;
    bool plain;            /* scalar without quotes: may be a null, bool or number */
    uint32_t line, column; /* from 1 */
    const struct conf_doc *doc;
    str text;                 /* scalar, decoded (and expanded) */
    struct conf_node **items; /* CONF_SEQ: n; CONF_MAP: 2 n, key and value in turn */
    size_t n;
    uint32_t weight; /* nodes in this subtree, aliases expanded */
};
/* Value of a key, NULL if absent. */
const struct conf_node *conf_get(const struct conf_node *map, str key);

/* Deep copy (file name and text included) into another arena. */
struct conf_node *conf_copy(struct arena *a, const struct conf_node *n);

/* ---- context and diagnostics ---- */
struct conf_diag {
    bool is_warning;
    str file;
    uint32_t line, column; /* 0: no position */
    str message;
    str source; /* the line of the file */
};
struct conf_ctx {
    struct arena *a;
    struct fs *fs;
    const char *(*env)(void *env_ctx, const char *name); /* default getenv */
    void *env_ctx;
    VEC(struct conf_diag) diags; /* in the arena */
    VEC(struct rx *) regexes;    /* owned: conf_ctx_release */
    size_t n_errors, n_nodes;    /* n_nodes: of the document being parsed */
    const struct conf_node *at;  /* node being decoded: where conf_error() points without a node */
    void *user;                  /* for custom decoders and checks */
    unsigned depth;              /* of decoding */
};
struct conf_ctx conf_ctx_init(struct arena *a, struct fs *fs);
void conf_ctx_release(struct conf_ctx *cx); /* frees compiled regexes */
/* A context with an arena of its own, from which the configuration itself will be made; both live until the free. */
struct conf_ctx *conf_ctx_new(struct fs *fs);
void conf_ctx_free(struct conf_ctx *cx);
/* Add an error or a warning at a node (NULL: no position). conf_error returns ERR_INVALID. */
enum err conf_error(struct conf_ctx *cx, const struct conf_node *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
void conf_warn(struct conf_ctx *cx, const struct conf_node *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* All diagnostics with source lines and carets. */
void conf_diags_print(struct buf *out, const struct conf_ctx *cx);
/* The first error as one line "file:line:column: message"; pos is unused. */
void conf_first_error(const struct conf_ctx *cx, struct err_text *ret);

/* ---- reading ---- */
enum conf_flags {
    CONF_EXPAND = 1,         /* ${VAR}, ${VAR:-default}, ${file:/path} in every scalar value; $${ stands for ${ */
    CONF_FIRST_DOCUMENT = 2, /* more documents behind the first are passed over with a warning, not refused */
};
/* Parse one document (an empty one gives a CONF_NULL root). text is borrowed as long as cx is used (diagnostics show
 * its lines). ERR_PARSE/ERR_LIMIT/..., reason in cx. */
enum err conf_parse(struct conf_ctx *cx, str file, str text, unsigned flags, struct conf_node **ret) MUST_CHECK;
enum err conf_read(struct conf_ctx *cx, const char *path, unsigned flags, struct conf_node **ret) MUST_CHECK;
/* Expand ${VAR} as Prometheus expands external_labels: $VAR and ${VAR}, absent is "", $$ is $. */
str conf_expand_env(struct conf_ctx *cx, str s);

/* ---- schemas ---- */
/* What C type a field is, and how it is read and written. */
enum conf_type {
    CONF_STR,      /* str */
    CONF_SECRET,   /* struct conf_secret */
    CONF_BOOL,     /* bool */
    CONF_INT,      /* int64_t */
    CONF_UINT,     /* uint64_t */
    CONF_FLOAT,    /* double */
    CONF_DURATION, /* int64_t, milliseconds: "1h30m" */
    CONF_BYTES,    /* uint64_t: "15MB", a unit is required unless 0 */
    CONF_URL,      /* str; absolute http(s) URL with a host; "" is absent */
    CONF_REGEX,    /* struct conf_regex, anchored */
    CONF_ENUM,     /* int: index into names[] */
    CONF_STRUCT,   /* the struct in place; a null keeps the defaults */
    CONF_PTR,      /* pointer to the struct; NULL when absent or null */
    CONF_INLINE,   /* the struct in place, its keys among ours */
    CONF_LIST,     /* struct conf_list of `of` (structs: schema->size each; scalars: their C type) */
    CONF_DICT,     /* struct conf_dict: any key -> `of` */
    CONF_NODE,     /* const struct conf_node *: as it stands, no check */
    CONF_CUSTOM,   /* read(); printed by print() */
};
struct conf_secret {
    str value;
};
struct conf_regex {
    str source;
    struct rx *rx; /* NULL until set; owned by the context */
};
struct conf_list { /* struct { T *p; size_t n; } has the same layout */
    void *p;
    size_t n;
};
struct conf_dict { /* keys[i] -> element i of p; in the file's order */
    str *keys;
    void *p;
    size_t n;
};
#define CONF_LIST_OF(T) \
    struct {            \
        T *p;           \
        size_t n;       \
    }
#define CONF_DICT_OF(T) \
    struct {            \
        str *keys;      \
        T *p;           \
        size_t n;       \
    }

struct conf_schema;
struct conf_out;
struct conf_field {
    const char *key;
    enum conf_type type;
    enum conf_type of; /* LIST, DICT: type of an element (not LIST or DICT) */
    uint32_t offset;
    const struct conf_schema *schema; /* STRUCT, PTR, INLINE and lists of them */
    const char *const *names;         /* ENUM: NULL-terminated */
    const char *empty_text;           /* LIST of structs: message for a null element */
    uint32_t flags;                   /* enum conf_field_flags */
    enum err (*read)(struct conf_ctx *cx, const struct conf_node *n, void *field);
    void (*print)(struct conf_out *out, const void *field); /* writes exactly one value */
};
enum conf_field_flags {
    CONF_ALWAYS = 1,   /* printed even when zero */
    CONF_HIDDEN = 2,   /* never printed */
    CONF_REQUIRED = 4, /* absence is an error */
    CONF_POSITIVE = 8, /* numbers and durations: > 0 when given */
    CONF_NULL_OK = 16, /* list elements may be null (skipped) */
};
struct conf_schema {
    const char *type_name; /* "config.GlobalConfig": said in errors */
    size_t size;
    const void *defaults; /* copied before decoding; NULL = zero */
    const struct conf_field *fields;
    size_t n_fields;
    /* After the fields: cross-field rules, derived values. n may be CONF_NULL. Reports with conf_error. */
    void (*check)(struct conf_ctx *cx, const struct conf_node *n, void *obj);
    /* A scalar instead of a mapping (shorthand); NULL: refused. */
    enum err (*from_scalar)(struct conf_ctx *cx, const struct conf_node *n, void *obj);
    bool (*is_empty)(const void *obj); /* printing: leave out; NULL: never */
};
/* Table helpers: CF(struct T, member, "key", CONF_STR), with designated extras behind. */
#define CF(T, member, key_, type_, ...)                                                        \
    {                                                                                          \
        .key = (key_), .type = (type_), .offset = (uint32_t)offsetof(T, member), ##__VA_ARGS__ \
    }

/* A schema of rows: CONF_SCHEMA(name, struct T, "config.T", rows), with designated extras behind. */
#define CONF_SCHEMA(var, T, name, rows, ...)                                                                 \
    const struct conf_schema var = {                                                                         \
        .type_name = (name), .size = sizeof(T), .fields = (rows), .n_fields = ARRAY_LEN(rows), ##__VA_ARGS__ \
    }

/* Decode a node (NULL or CONF_NULL: only the defaults) into obj (schema->size bytes, overwritten).
 * ERR_INVALID when at least one error was added. */
enum err conf_decode(struct conf_ctx *cx, const struct conf_node *n, const struct conf_schema *s, void *obj) MUST_CHECK;
/* Was the key given in this mapping (and not null)? For checks. */
bool conf_has(const struct conf_node *map, const char *key);
/* read + decode into a new object of the arena. */
enum err conf_load(struct conf_ctx *cx, const char *path, const struct conf_schema *s, unsigned flags,
                   void **ret) MUST_CHECK;
/* Single values, for custom readers; an error is added on failure. */
enum err conf_read_str(struct conf_ctx *cx, const struct conf_node *n, str *ret);
enum err conf_read_bool(struct conf_ctx *cx, const struct conf_node *n, bool *ret);
enum err conf_read_strs(struct conf_ctx *cx, const struct conf_node *n, struct conf_list *ret); /* a list of str */
enum err conf_read_duration(struct conf_ctx *cx, const struct conf_node *n, int64_t *ret_ms);
enum err conf_read_regex(struct conf_ctx *cx, const struct conf_node *n, struct conf_regex *ret);
/* Compile a default regex once per context ("(.*)"). */
enum err conf_regex_compile(struct conf_ctx *cx, str source, struct conf_regex *ret);

/* ---- printing ---- */
struct conf_out {
    struct buf *b;
    unsigned indent;
    bool at_start; /* the next key stands right behind "- " */
    bool reveal;   /* secrets in clear: for comparing, never for showing */
};
/* The object as YAML with its defaults, secrets as <secret>; passwords in URLs as xxxxx. */
void conf_print(struct buf *out, const struct conf_schema *s, const void *obj);
/* Hash of everything in the object, secrets included: did a reload change it? */
uint64_t conf_hash(const struct conf_schema *s, const void *obj);
/* For custom printers: one scalar, quoted where YAML needs it; then a newline. */
void conf_out_scalar(struct conf_out *o, str s);
void conf_out_struct(struct conf_out *o, const struct conf_schema *s, const void *obj);

/* In quotes, with Go's escapes (%q): what is not printable or not UTF-8 becomes \n, \xff, \u2028 ... */
void conf_quote(struct buf *out, str s);

/* URL syntax as the configuration needs it: scheme://host..., texts as Go's. */
enum err conf_check_url(str url, bool http_only, struct err_text *reterr) MUST_CHECK;

#endif

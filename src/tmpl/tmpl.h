/* Go's text/template, as rule files and Alertmanager's configuration are written in it: the language of
 * https://pkg.go.dev/text/template (through 1.24: range over integers, `else with`, break, continue), fmt's verbs, and
 * the contextual escaping of html/template.
 *
 *   set = tmpl_set_new(&options, NULL);
 *   TRY(tmpl_parse(set, STR("title"), text, &why));            // also what it defines by {{ define }}
 *   TRY(tmpl_exec(set, STR("title"), &dot, &run, &out, &why));
 *
 * Values are trees of struct tmpl_val that the caller builds in an arena. They have Go's types by name, so that errors,
 * %T, methods and fields are those of the reference; what a template cannot see has no type here.
 * Threads: a set belongs to one thread while it is parsed into; after that any number may execute from it. */
#ifndef VANE_TMPL_TMPL_H
#define VANE_TMPL_TMPL_H

#include "base/buf.h"

struct json_out; /* base/json.h */

#define TMPL_TEXT_BYTES_MAX   (1u << 20) /* of one template */
#define TMPL_OUTPUT_BYTES_MAX (8u << 20) /* default of tmpl_run */
#define TMPL_STEPS_MAX        5000000u   /* nodes executed: ends templates that run away */

/* ---- values ---- */
enum tmpl_kind {
    TMPL_NONE, /* no value: a missing key, the result of nil; prints as <no value> */
    TMPL_NIL,  /* nil inside a list, map or struct; prints as <nil> */
    TMPL_BOOL,
    TMPL_INT,
    TMPL_UINT,
    TMPL_FLOAT,
    TMPL_COMPLEX, /* literals only */
    TMPL_STR,
    TMPL_LIST,
    TMPL_MAP,    /* string keys */
    TMPL_STRUCT, /* the fields its type names */
};
struct tmpl_type;
struct tmpl_pair;
struct tmpl_val {
    enum tmpl_kind kind;
    const struct tmpl_type *type; /* NULL: Go's plain type of the kind */
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double f;
        double c[2];
        str s;
        struct {
            struct tmpl_val *p; /* LIST: n elements; STRUCT: type->n_fields values */
            size_t n;
        } list;
        struct {
            struct tmpl_pair *p; /* sorted by key */
            size_t n;
        } map;
    };
};
struct tmpl_pair {
    str k;
    struct tmpl_val v;
};

/* A call of a function or method under way. */
struct tmpl_call {
    struct arena *a;      /* results live here, as long as the execution */
    void *ctx;            /* tmpl_run.ctx */
    struct err_text *why; /* for err_fail() */
    struct tmpl_exec *exec;
};
typedef enum err (*tmpl_fn)(struct tmpl_call *c, const struct tmpl_val *args, size_t n, struct tmpl_val *ret);
/* args: a letter a parameter: s string, b bool, i int, f float64, v anything (nil too), l []string; a star behind the last one:
 * any number of these. A method's receiver is args[0] and not listed. */
struct tmpl_func {
    const char *name, *args;
    tmpl_fn fn;
};
enum tmpl_safe { TMPL_UNSAFE, TMPL_SAFE_HTML, TMPL_SAFE_URL, TMPL_SAFE_JS, TMPL_SAFE_CSS, TMPL_SAFE_ATTR };
struct tmpl_type {
    const char *name;          /* "template.KV" */
    const char *const *fields; /* STRUCT */
    const char *const *json;   /* STRUCT: names for toJson; NULL = fields */
    size_t n_fields;
    const struct tmpl_func *methods;
    size_t n_methods;
    void (*string)(struct buf *out, const struct tmpl_val *v);        /* String(), which fmt uses; NULL = none */
    void (*json_value)(struct json_out *j, const struct tmpl_val *v); /* MarshalJSON(); NULL = by fields */
    bool elem_str;                                                    /* MAP, LIST: of strings, not of interface{} */
    const struct tmpl_type *elem; /* LIST: type of a slice of it is the same; elements' type, for messages */
    enum tmpl_safe safe;          /* html/template's marked strings */
};

static inline struct tmpl_val tmpl_str(str s)
{
    return (struct tmpl_val){ .kind = TMPL_STR, .s = s };
}
static inline struct tmpl_val tmpl_int(int64_t i)
{
    return (struct tmpl_val){ .kind = TMPL_INT, .i = i };
}
static inline struct tmpl_val tmpl_float(double f)
{
    return (struct tmpl_val){ .kind = TMPL_FLOAT, .f = f };
}
static inline struct tmpl_val tmpl_bool(bool b)
{
    return (struct tmpl_val){ .kind = TMPL_BOOL, .b = b };
}
/* Room for n elements, to be filled in (for maps: in the order of the keys). */
struct tmpl_val tmpl_list(struct arena *a, const struct tmpl_type *type, size_t n);
struct tmpl_val tmpl_map(struct arena *a, const struct tmpl_type *type, size_t n);
struct tmpl_val tmpl_struct(struct arena *a, const struct tmpl_type *type); /* all fields NIL */
void tmpl_map_sort(struct tmpl_val *map);
const struct tmpl_val *tmpl_get(const struct tmpl_val *map, str key); /* NULL: not there */
bool tmpl_truth(const struct tmpl_val *v);
const char *tmpl_type_name(const struct tmpl_val *v); /* as %T prints it */
/* fmt.Fprint(out, v). */
void tmpl_print(struct buf *out, const struct tmpl_val *v);
/* fmt.Sprintf. */
void tmpl_printf(struct buf *out, str format, const struct tmpl_val *args, size_t n);
/* encoding/json, HTML-safe as Go's Marshal. */
void tmpl_json(struct buf *out, const struct tmpl_val *v);

/* ---- templates ---- */
struct tmpl_options {
    const struct tmpl_func *const
        *funcs; /* tables of functions besides the built-in ones; later ones win; live as long as the set */
    const size_t *n_funcs;
    size_t n_tables;
    enum tmpl_missing {
        TMPL_MISSING_DEFAULT,
        TMPL_MISSING_ZERO,
        TMPL_MISSING_ERROR
    } missing; /* Option("missingkey=...") */
    bool html; /* escape by context */
};
struct tmpl_set;
/* parent: templates not defined here are looked up there (it must live longer); may be NULL. */
struct tmpl_set *tmpl_set_new(const struct tmpl_options *opt, const struct tmpl_set *parent);
void tmpl_set_free(struct tmpl_set *set);
/* ERR_PARSE: "template: NAME:LINE: why". Nothing is added then. Redefining is allowed from one text to the next. */
enum err tmpl_parse(struct tmpl_set *set, str name, str text, struct err_text *reterr) MUST_CHECK;
bool tmpl_defined(const struct tmpl_set *set, str name);

struct tmpl_run {
    void *ctx;               /* for functions */
    struct arena *a;         /* scratch and results */
    size_t output_bytes_max; /* 0 = TMPL_OUTPUT_BYTES_MAX */
};
/* Appends to out; what was written before a failure stays there, as in Go.
 * ERR_EXEC: "template: NAME:LINE:COLUMN: executing ... at <...>: why"; ERR_LIMIT: output, depth or steps. */
enum err tmpl_exec(const struct tmpl_set *set, str name, const struct tmpl_val *dot, const struct tmpl_run *run,
                   struct buf *out, struct err_text *reterr) MUST_CHECK;

/* Parse and execute a text once, beside the templates of set (which may be NULL when opt is given). */
enum err tmpl_once(const struct tmpl_options *opt, const struct tmpl_set *set, str name, str text,
                   const struct tmpl_val *dot, const struct tmpl_run *run, struct buf *out,
                   struct err_text *reterr) MUST_CHECK;

#endif

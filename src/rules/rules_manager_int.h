/* The manager inside: rules_load.c reads the files, rules_manager.c runs the groups, rules_state.c keeps alerts. */
#ifndef VANE_RULES_RULES_MANAGER_INT_H
#define VANE_RULES_RULES_MANAGER_INT_H

#include "rules/rules_int.h"
#include "rules/rules_manager.h"

struct rules_load {
    atomic_uint refs;
    struct arena a;
    struct conf_ctx cx;
    VEC(struct rule_file *) files; /* in a */
    struct rules_env env;          /* engine, source, append: filled when it is applied */
};
void rules_load_ref(struct rules_load *l);

/* ---- rules_state.c ---- */
#define MAP_NAME     saved_alerts /* key of an alert of a group -> what is written of it */
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct saved_alert
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
struct saved_alert {
    uint64_t rule, alert; /* hashes: with the group's they are the key of the row */
    uint64_t facts;       /* hash of what is durable */
    uint64_t round;       /* when it was seen last */
};
#include "base/map.h"

struct rules_state { /* of one group */
    struct control *control;
    uint64_t group; /* hash of file and name */
    struct saved_alerts saved;
    uint64_t round;
};
uint64_t rules_group_hash(const struct rule_group *g);
enum err rules_state_attach(struct control *c, struct err_text *reterr) MUST_CHECK;
/* Alerts from before; those of rules that are gone are deleted. */
enum err rules_state_restore(struct rules_state *s, struct rules_group *g, int64_t now_ms,
                             struct err_text *reterr) MUST_CHECK;
/* What has changed since it was written last. */
enum err rules_state_save(struct rules_state *s, const struct rules_group *g, int64_t now_ms,
                          struct err_text *reterr) MUST_CHECK;
enum err rules_state_delete(struct rules_state *s, struct err_text *reterr) MUST_CHECK; /* the whole group */
/* Rows of groups that are not among these. */
enum err rules_state_sweep(struct control *c, const uint64_t *groups, size_t n, struct err_text *reterr) MUST_CHECK;

#endif

#include "rules/rules_packs.h"

#include "base/mem.h"

static const struct rule_text *find(const struct rule_text *rows, size_t n, str name)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(rows[mid].name, name);
        if (c == 0)
            return &rows[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

const struct rule_text *rules_pack_find(str name)
{
    return find(rules_packs, rules_packs_n, name);
}

const struct rule_text *rules_runbook_find(str name)
{
    return find(rules_runbooks, rules_runbooks_n, name);
}

str rules_pack_nearest(str name)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names = arena_array(&a, str, rules_packs_n + 1);
    for (size_t i = 0; i < rules_packs_n; i++)
        names[i] = rules_packs[i].name;
    return str_nearest(name, names, rules_packs_n);
}

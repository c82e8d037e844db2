/* Values: making them, looking into them, and their JSON. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/num.h"
#include "tmpl/tmpl_int.h"

struct tmpl_val tmpl_list(struct arena *a, const struct tmpl_type *type, size_t n)
{
    struct tmpl_val v = { .kind = TMPL_LIST, .type = type };
    v.list.p = arena_zarray(a, struct tmpl_val, n + 1);
    v.list.n = n;
    for (size_t i = 0; i < n; i++)
        v.list.p[i].kind = TMPL_NIL;
    return v;
}

struct tmpl_val tmpl_map(struct arena *a, const struct tmpl_type *type, size_t n)
{
    struct tmpl_val v = { .kind = TMPL_MAP, .type = type };
    v.map.p = arena_zarray(a, struct tmpl_pair, n + 1);
    v.map.n = n;
    for (size_t i = 0; i < n; i++)
        v.map.p[i].v.kind = TMPL_NIL;
    return v;
}

struct tmpl_val tmpl_struct(struct arena *a, const struct tmpl_type *type)
{
    struct tmpl_val v = tmpl_list(a, type, type->n_fields);
    v.kind = TMPL_STRUCT;
    return v;
}

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct tmpl_pair *)a)->k, ((const struct tmpl_pair *)b)->k);
}

void tmpl_map_sort(struct tmpl_val *map)
{
    if (map->map.n)
        qsort(map->map.p, map->map.n, sizeof(*map->map.p), by_key);
}

const struct tmpl_val *tmpl_get(const struct tmpl_val *map, str key)
{
    size_t lo = 0, hi = map->map.n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(map->map.p[mid].k, key);
        if (c == 0)
            return &map->map.p[mid].v;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

bool tmpl_truth(const struct tmpl_val *v)
{
    switch (v->kind) {
    case TMPL_NONE:
    case TMPL_NIL:
        return false;
    case TMPL_BOOL:
        return v->b;
    case TMPL_INT:
    case TMPL_UINT:
        return v->u != 0;
    case TMPL_FLOAT:
        return v->f != 0;
    case TMPL_COMPLEX:
        return v->c[0] != 0 || v->c[1] != 0;
    case TMPL_STR:
        return v->s.n != 0;
    case TMPL_LIST:
        return v->list.n != 0;
    case TMPL_MAP:
        return v->map.n != 0;
    default:
        return true;
    }
}

const char *tmpl_type_name(const struct tmpl_val *v)
{
    static const char *const names[] = {
        [TMPL_NONE] = "<nil>",    [TMPL_NIL] = "<nil>",           [TMPL_BOOL] = "bool",
        [TMPL_INT] = "int",       [TMPL_UINT] = "uint64",         [TMPL_FLOAT] = "float64",
        [TMPL_STR] = "string",    [TMPL_LIST] = "[]interface {}", [TMPL_MAP] = "map[string]interface {}",
        [TMPL_STRUCT] = "struct", [TMPL_COMPLEX] = "complex128",
    };
    return v->type ? v->type->name : names[v->kind];
}

static void json_value(struct json_out *j, const struct tmpl_val *v)
{
    if (j->depth >= JSON_DEPTH_MAX - 1) {
        json_put_null(j);
        return;
    }
    switch (v->kind) {
    case TMPL_BOOL:
        json_bool(j, v->b);
        break;
    case TMPL_INT:
        json_i64(j, v->i);
        break;
    case TMPL_UINT:
        json_u64(j, v->u);
        break;
    case TMPL_FLOAT:
        json_f64(j, v->f);
        break;
    case TMPL_STR:
        json_str(j, v->s);
        break;
    case TMPL_LIST:
        json_arr(j);
        for (size_t i = 0; i < v->list.n; i++)
            json_value(j, &v->list.p[i]);
        json_arr_end(j);
        break;
    case TMPL_MAP:
        json_obj(j);
        for (size_t i = 0; i < v->map.n; i++) {
            json_key(j, v->map.p[i].k);
            json_value(j, &v->map.p[i].v);
        }
        json_obj_end(j);
        break;
    case TMPL_STRUCT:
        if (v->type->json_value) {
            v->type->json_value(j, v);
            break;
        }
        json_obj(j);
        for (size_t i = 0; i < v->type->n_fields; i++) {
            json_key(j, str_c(v->type->json ? v->type->json[i] : v->type->fields[i]));
            json_value(j, &v->list.p[i]);
        }
        json_obj_end(j);
        break;
    default:
        json_put_null(j);
    }
}

void tmpl_json(struct buf *out, const struct tmpl_val *v)
{
    struct json_out j = json_out_init(out);
    json_value(&j, v);
}

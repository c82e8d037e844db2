/* Binary operators on single samples (Prometheus 3.x: promql/engine.go, vectorElemBinop). */
#include <stdio.h>

#include "promql/promql_int.h"

bool pq_op_changes_schema(enum promql_op op)
{
    return op <= PQ_ATAN2;
}

static bool compare(enum promql_op op, double a, double b)
{
    switch (op) {
    case PQ_EQ:
        return a == b;
    case PQ_NE:
        return a != b;
    case PQ_LT:
        return a < b;
    case PQ_LE:
        return a <= b;
    case PQ_GT:
        return a > b;
    default:
        return a >= b;
    }
}

double pq_scalar_binary(enum promql_op op, double a, double b)
{
    switch (op) {
    case PQ_ADD:
        return a + b;
    case PQ_SUB:
        return a - b;
    case PQ_MUL:
        return a * b;
    case PQ_DIV:
        return a / b;
    case PQ_MOD:
        return fmod(a, b);
    case PQ_POW:
        return pow(a, b);
    case PQ_ATAN2:
        return atan2(a, b);
    default:
        return compare(op, a, b) ? 1 : 0;
    }
}

static bool incompatible(struct pq_worker *w, struct promql_pos pos, enum promql_op op, struct pq_elem l,
                         struct pq_elem r)
{
    char text[64];
    const char *o = promql_op_text(op);
    int n = snprintf(text, sizeof(text), "%s %s %s", l.h ? "histogram" : "float", o, r.h ? "histogram" : "float");
    pq_note_add(
        &w->notes,
        &(struct pq_note){ .kind = NOTE_INCOMPATIBLE_TYPES, .pos = pos, .a = str_n(text, (size_t)n), .b = str_c(o) });
    return false;
}

/* Notes of adding or subtracting: at most one, as upstream returns one error. */
static void note_flags(struct pq_worker *w, struct promql_pos pos, const struct pq_hist_flags *f, str operation)
{
    if (f->reconciled)
        pq_note(&w->notes, NOTE_BOUNDS_RECONCILED, pos, operation);
    if (f->collision)
        pq_note(&w->notes, NOTE_RESET_COLLISION, pos, operation);
}

static bool two_histograms(struct pq_worker *w, struct promql_pos pos, enum promql_op op, struct pq_elem l,
                           struct pq_elem r, struct pq_elem *ret, bool *keep)
{
    struct pq_hist_flags f = { 0 };
    struct histogram *h;
    switch (op) {
    case PQ_ADD:
    case PQ_SUB:
        h = op == PQ_ADD ? pq_hist_add(&w->a, l.h, r.h, &f) : pq_hist_sub(&w->a, l.h, r.h, &f);
        if (!h) {
            pq_note(&w->notes, NOTE_INCOMPATIBLE_BUCKETS, pos, str_c(promql_op_text(op)));
            return false;
        }
        if (op == PQ_SUB)
            h->reset = HIST_RESET_GAUGE;
        note_flags(w, pos, &f, op == PQ_ADD ? STR("addition") : STR("subtraction"));
        *ret = (struct pq_elem){ 0, pq_hist_compact(&w->a, h) };
        return true;
    case PQ_EQ:
    case PQ_NE:
        *ret = l;
        *keep = pq_hist_eq(l.h, r.h) == (op == PQ_EQ);
        return true;
    default:
        return incompatible(w, pos, op, l, r);
    }
}

bool pq_elem_binary(struct pq_worker *w, struct promql_pos pos, enum promql_op op, struct pq_elem l, struct pq_elem r,
                    struct pq_elem *ret, bool *keep)
{
    *keep = true;
    if (l.h && r.h)
        return two_histograms(w, pos, op, l, r, ret, keep);
    if (!l.h && !r.h) {
        if (op == PQ_TRIM_UPPER || op == PQ_TRIM_LOWER)
            return incompatible(w, pos, op, l, r);
        if (promql_op_is_comparison(op)) {
            *ret = l;
            *keep = compare(op, l.f, r.f);
        } else {
            *ret = (struct pq_elem){ pq_scalar_binary(op, l.f, r.f), NULL };
        }
        return true;
    }
    struct histogram *h = NULL;
    if (op == PQ_MUL)
        h = pq_hist_compact(&w->a, pq_hist_scale(&w->a, l.h ? l.h : r.h, l.h ? r.f : l.f));
    else if (op == PQ_DIV && l.h)
        h = pq_hist_compact(&w->a, pq_hist_div(&w->a, l.h, r.f));
    else if ((op == PQ_TRIM_UPPER || op == PQ_TRIM_LOWER) && l.h)
        h = pq_hist_trim(&w->a, l.h, r.f, op == PQ_TRIM_UPPER);
    if (!h)
        return incompatible(w, pos, op, l, r);
    *ret = (struct pq_elem){ 0, h };
    return true;
}

#include "base/account_protocol.h"

#include <string.h>

struct writer {
    uint8_t *p;
    size_t n, size;
    bool full;
};

static void put(struct writer *w, struct span s)
{
    if (w->full || s.n > w->size - w->n) {
        w->full = true;
        return;
    }
    if (s.n > 0)
        memcpy(w->p + w->n, s.p, s.n);
    w->n += s.n;
}

static void put_number(struct writer *w, uint32_t value, size_t bytes)
{
    uint8_t out[4];
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    put(w, span_of(out, bytes));
}

static void put_string(struct writer *w, struct span s)
{
    put_number(w, (uint32_t)s.n, 2);
    put(w, s);
}

/* Takes from the front; false when it is not there. */
static bool take(struct span *in, size_t n, struct span *out)
{
    if (in->n < n)
        return false;
    *out = span_sub(*in, 0, n);
    *in = span_from(*in, n);
    return true;
}

static bool take_number(struct span *in, size_t bytes, uint32_t *value)
{
    struct span s;
    if (!take(in, bytes, &s))
        return false;
    *value = 0;
    for (size_t i = 0; i < bytes; i++)
        *value = *value << 8 | s.p[i];
    return true;
}

static bool take_string(struct span *in, size_t max, struct span *out)
{
    uint32_t n;
    return take_number(in, 2, &n) && n <= max && take(in, n, out) && span_find(*out, 0) == out->n;
}

static bool service_ok(struct span s)
{
    if (s.n == 0 || s.n > ACCOUNT_SERVICE_MAX || s.p[0] == '.' || s.p[s.n - 1] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = ascii_lower(s.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return false;
    }
    return true;
}

static bool name_ok(struct span s)
{
    return s.n > 0 && s.n <= ACCOUNT_NAME_MAX && span_find(s, 0) == s.n;
}

static bool question_ok(const struct account_question *q)
{
    if (!service_ok(q->service) || (q->domain.n > 0 && !name_ok(q->domain)) ||
        q->group_count > ACCOUNT_GROUPS_MAX)
        return false;
    for (size_t i = 0; i < q->group_count; i++)
        if (!name_ok(q->groups[i]))
            return false;
    switch (q->act) {
    case ACCOUNT_VERIFY:
        return name_ok(q->account) && q->password.n > 0 && q->password.n <= ACCOUNT_PASSWORD_MAX &&
               span_find(q->password, 0) == q->password.n;
    case ACCOUNT_MEMBER: return name_ok(q->account) && q->password.n == 0;
    case ACCOUNT_READY:
        return q->account.n == 0 && q->password.n == 0 && q->domain.n == 0 && q->group_count == 0;
    }
    return false;
}

size_t account_question_format(const struct account_question *q, uint8_t *out, size_t size)
{
    struct writer w = {.p = out, .size = size, .n = 0};
    if (!question_ok(q) || size < ACCOUNT_HEAD_SIZE)
        return 0;
    put_number(&w, ACCOUNT_PROTOCOL_VERSION, 1);
    put_number(&w, (uint32_t)q->act, 1);
    put_number(&w, 0, 2); /* the length, below */
    put_number(&w, q->deadline_ms, 4);
    put_string(&w, q->service);
    put_string(&w, q->domain);
    put_string(&w, q->account);
    put_string(&w, q->password);
    put_number(&w, (uint32_t)q->group_count, 1);
    for (size_t i = 0; i < q->group_count; i++)
        put_string(&w, q->groups[i]);
    if (w.full)
        return 0;
    size_t body = w.n - ACCOUNT_HEAD_SIZE;
    out[2] = (uint8_t)(body >> 8);
    out[3] = (uint8_t)body;
    return w.n;
}

/* The head of either message: code and body. */
static enum account_parsed take_message(struct span in, size_t max, uint8_t *code,
                                        struct span *body)
{
    if (in.n > 0 && in.p[0] != ACCOUNT_PROTOCOL_VERSION)
        return ACCOUNT_PARSED_WRONG;
    if (in.n < ACCOUNT_HEAD_SIZE)
        return ACCOUNT_PARSED_MORE;
    size_t n = (size_t)in.p[2] << 8 | in.p[3];
    if (n > max - ACCOUNT_HEAD_SIZE || in.n - ACCOUNT_HEAD_SIZE > n)
        return ACCOUNT_PARSED_WRONG;
    if (in.n - ACCOUNT_HEAD_SIZE < n)
        return ACCOUNT_PARSED_MORE;
    *code = in.p[1];
    *body = span_from(in, ACCOUNT_HEAD_SIZE);
    return ACCOUNT_PARSED_WHOLE;
}

enum account_parsed account_question_parse(struct span in, struct account_question *q)
{
    uint8_t act = 0;
    uint32_t count;
    struct span body = {NULL, 0};
    enum account_parsed found = take_message(in, ACCOUNT_QUESTION_MAX, &act, &body);
    if (found != ACCOUNT_PARSED_WHOLE)
        return found;
    if (act != ACCOUNT_VERIFY && act != ACCOUNT_MEMBER && act != ACCOUNT_READY)
        return ACCOUNT_PARSED_WRONG;
    q->act = (enum account_act)act;
    if (!take_number(&body, 4, &q->deadline_ms) ||
        !take_string(&body, ACCOUNT_SERVICE_MAX, &q->service) ||
        !take_string(&body, ACCOUNT_NAME_MAX, &q->domain) ||
        !take_string(&body, ACCOUNT_NAME_MAX, &q->account) ||
        !take_string(&body, ACCOUNT_PASSWORD_MAX, &q->password) || !take_number(&body, 1, &count) ||
        count > ACCOUNT_GROUPS_MAX)
        return ACCOUNT_PARSED_WRONG;
    for (q->group_count = 0; q->group_count < count; q->group_count++)
        if (!take_string(&body, ACCOUNT_NAME_MAX, &q->groups[q->group_count]))
            return ACCOUNT_PARSED_WRONG;
    return body.n == 0 && question_ok(q) ? ACCOUNT_PARSED_WHOLE : ACCOUNT_PARSED_WRONG;
}

size_t account_answer_format(const struct account_answer *a, uint8_t *out, size_t size)
{
    struct writer w = {.p = out, .size = size, .n = 0};
    if (a->text.n > ACCOUNT_TEXT_MAX)
        return 0;
    put_number(&w, ACCOUNT_PROTOCOL_VERSION, 1);
    put_number(&w, a->result, 1);
    put_string(&w, a->text);
    return w.full ? 0 : w.n;
}

enum account_parsed account_answer_parse(struct span in, uint8_t results, struct account_answer *a)
{
    enum account_parsed found = take_message(in, ACCOUNT_ANSWER_MAX, &a->result, &a->text);
    if (found == ACCOUNT_PARSED_WHOLE && a->result >= results)
        return ACCOUNT_PARSED_WRONG;
    return found;
}

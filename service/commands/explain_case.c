#include "commands/explain_case.h"

#include <stdio.h>
#include <string.h>

/* Cuts the next word off; NULL at the end. Quotes stay in the word, they are the address's own. */
static char *next_word(char **rest)
{
    char *at = *rest;
    bool quoted = false;
    while (*at == ' ' || *at == '\t')
        at++;
    if (*at == '\0')
        return NULL;
    char *word = at;
    for (; *at != '\0' && (quoted || (*at != ' ' && *at != '\t')); at++) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        else if (*at == '"')
            quoted = !quoted;
    }
    if (*at != '\0')
        *at++ = '\0';
    *rest = at;
    return word;
}

/* "key=value" cut in two; false where there is no `=`. */
static bool split(char *word, char **value)
{
    char *equals = strchr(word, '=');
    if (equals == NULL)
        return false;
    *equals = '\0';
    *value = equals + 1;
    return true;
}

static bool read_names(char *value, struct explain_case *c, struct err *e)
{
    struct acl_names *names = &c->request.names;
    names->v = c->names;
    if (strcmp(value, "unknown") == 0 || strcmp(value, "failed") == 0) {
        names->state = value[0] == 'u' ? FACT_UNKNOWN : FACT_FAILED;
        return true;
    }
    names->state = value[0] == '\0' || strcmp(value, "none") == 0 ? FACT_ABSENT : FACT_VALUE;
    while (names->state == FACT_VALUE && *value != '\0') {
        size_t n = strcspn(value, ",");
        if (names->n == EXPLAIN_CASE_NAMES_MAX)
            return err_set(e, ERR_PERM, "host: more than %d names", EXPLAIN_CASE_NAMES_MAX);
        c->names[names->n++] = span_of(value, n);
        value += value[n] == ',' ? n + 1 : n;
    }
    return true;
}

static bool read_listener(const struct policy *p, const char *value, struct explain_request *r,
                          struct err *e)
{
    uint64_t index;
    r->listener = policy_listener_find(p, value);
    if (r->listener == NULL && p->listener_count > 0 &&
        span_u64(span_str(value), p->listener_count - 1, &index))
        r->listener = &p->listeners[index];
    return r->listener != NULL || err_set(e, ERR_PERM, "listener=%.100s: there is none", value);
}

static bool read_bool(const char *key, const char *value, bool *out, struct err *e)
{
    *out = strcmp(value, "yes") == 0;
    return *out || strcmp(value, "no") == 0 ||
           err_set(e, ERR_PERM, "%s=%.100s, expected yes or no", key, value);
}

static bool read_client(const char *value, struct explain_request *r, struct err *e)
{
    r->pickup = strcmp(value, "pickup") == 0;
    return r->pickup || netaddr_parse(span_str(value), &r->client) ||
           err_set(e, ERR_PERM, "client=%.100s, expected an IP address or pickup", value);
}

static bool read_fact(const struct policy *p, char *key, char *value, struct explain_case *c,
                      struct err *e)
{
    struct explain_request *r = &c->request;
    if (strcmp(key, "client") == 0)
        return read_client(value, r, e);
    if (strcmp(key, "host") == 0)
        return read_names(value, c, e);
    if (strcmp(key, "listener") == 0)
        return read_listener(p, value, r, e);
    if (strcmp(key, "tls") == 0)
        return read_bool(key, value, &r->tls, e);
    if (strcmp(key, "counted") == 0)
        return explain_read_counted(value, &r->counted, e);
    if (strcmp(key, "user") == 0)
        r->user = value[0] == '\0' ? NULL : value;
    else if (strcmp(key, "from") == 0)
        r->from = value;
    else if (strcmp(key, "to") == 0)
        r->to = value;
    else
        return err_set(e, ERR_PERM,
                       "%.100s: no such word, expected client, host, user, tls, listener, counted, "
                       "from, to",
                       key);
    return true;
}

static bool read_expectation(char *key, char *value, struct explain_case *c, struct err *e)
{
    if (strcmp(key, "stage") == 0)
        c->stage = value;
    else if (strcmp(key, "rule") == 0)
        c->rule = value;
    else if (strcmp(key, "entry") == 0)
        c->entry = value;
    else if (strcmp(key, "line") == 0)
        c->line = value;
    else if (strcmp(key, "reply") == 0)
        c->reply = value;
    else
        return err_set(e, ERR_PERM,
                       "%.100s: no such word behind ->, expected stage, rule, entry, line, reply "
                       "or change~",
                       key);
    return true;
}

static bool read_expectations(char *rest, struct explain_case *c, struct err *e)
{
    char *value, *word = next_word(&rest);
    c->expects = true;
    c->verdict = word;
    if (word == NULL || (strcmp(word, "allowed") != 0 && strcmp(word, "refused") != 0 &&
                         strcmp(word, "unknown") != 0))
        return err_set(e, ERR_PERM, "-> %.100s, expected allowed, refused or unknown",
                       word == NULL ? "" : word);
    while ((word = next_word(&rest)) != NULL) {
        if (strcmp(word, "change~") == 0) {
            c->change = rest + strspn(rest, " \t");
            return true;
        }
        if (!split(word, &value))
            return err_set(e, ERR_PERM, "%.100s: not a word=value", word);
        if (!read_expectation(word, value, c, e))
            return false;
    }
    return true;
}

bool explain_case_parse(const struct policy *p, char *line, struct explain_case *out, bool *empty,
                        struct err *e)
{
    *out = (struct explain_case){.request = {.listener = &p->listeners[0]}};
    struct explain_request *r = &out->request;
    bool client = false;
    r->client = (struct netaddr){{0}};
    char *word = next_word(&line), *value;
    *empty = word == NULL || word[0] == '#';
    if (*empty)
        return true;
    if (strcmp(word, "case") == 0)
        word = next_word(&line);
    for (; word != NULL; word = next_word(&line)) {
        if (strcmp(word, "->") == 0) {
            if (!read_expectations(line, out, e))
                return false;
            break;
        }
        if (!split(word, &value))
            return err_set(e, ERR_PERM, "%.100s: not a word=value", word);
        client = client || strcmp(word, "client") == 0;
        if (!read_fact(p, word, value, out, e))
            return false;
    }
    if (!client || r->from == NULL || r->to == NULL)
        return err_set(e, ERR_PERM, "client=, from= and to= are needed");
    return true;
}

static void compare(const char *what, const char *want, const char *got, struct buf *out)
{
    if (want != NULL && strcmp(want, got) != 0)
        buf_addf(out, "%s%s is \"%s\", expected \"%s\"", buf_span(out).n > 0 ? "; " : "", what, got,
                 want);
}

void explain_case_compare(const struct explain_case *c, const struct explain_answer *answer,
                          struct buf *out)
{
    const struct acl_reason *r = acl_explain_last(&answer->walk);
    char line[16];
    (void)snprintf(line, sizeof line, "%u", r->at.line);
    compare("verdict", c->verdict, acl_outcome_name(answer->walk.outcome), out);
    compare("stage", c->stage, acl_stage_name(r->stage), out);
    compare("rule", c->rule, r->rule, out);
    compare("entry", c->entry, r->entry, out);
    compare("line", c->line, line, out);
    char reply[16];
    (void)snprintf(reply, sizeof reply, "%u", r->code);
    compare("reply", c->reply, reply, out);
    if (c->change != NULL && strstr(r->change, c->change) == NULL)
        buf_addf(out, "%schange is \"%s\", expected it to hold \"%s\"",
                 buf_span(out).n > 0 ? "; " : "", r->change, c->change);
}

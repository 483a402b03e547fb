#include "commands/explain_identity.h"

#include <stdio.h>
#include <string.h>

enum { GROUPS_TEXT_MAX = 400 };

static const char *backend_name(enum auth_backend_kind kind)
{
    switch (kind) {
    case AUTH_BACKEND_USERDB: return "userdb";
    case AUTH_BACKEND_SYSTEM: return "system";
    case AUTH_BACKEND_LDAP: return "ldap";
    case AUTH_BACKEND_KERBEROS: return "kerberos";
    }
    return "";
}

static const char *match_name(enum identity_match match)
{
    switch (match) {
    case IDENTITY_BY_NAME: return "name";
    case IDENTITY_BY_MACHINE: return "machine";
    case IDENTITY_BY_IMPLIED: return "implied";
    case IDENTITY_BY_DEFAULT: return "default";
    case IDENTITY_BY_FIRST: return "first";
    case IDENTITY_BY_WHOLE: return "whole";
    }
    return "";
}

static void set_rule(const struct policy *p, struct explain_identity *out, const char *what)
{
    int n = out->result == IDENTITY_OK
                ? snprintf(out->rule, sizeof out->rule, "authentication.domains[%zu]%s",
                           out->id.domain, what)
                : snprintf(out->rule, sizeof out->rule, "authentication.domains");
    if (n > 0)
        out->at = config_where(p->config, out->rule, NULL);
}

/* The part of the name that stands for a domain; empty in a bare one. */
static struct span domain_part(const char *name)
{
    struct span s = span_str(name);
    size_t slash = span_find(s, '\\'), at = span_rfind(s, '@');
    if (slash < s.n)
        return span_sub(s, 0, slash);
    return at < s.n ? span_from(s, at + 1) : span_of(NULL, 0);
}

/* ---- which domain ---- */

static void tell_match(const struct policy *p, struct explain_identity *out)
{
    const struct auth_options *o = &p->auth;
    const struct auth_domain *d = &o->domains[out->id.domain];
    struct span part = domain_part(out->name);
    char *to = out->found;
    size_t size = sizeof out->found;
    switch (out->id.match) {
    case IDENTITY_BY_NAME:
        if (span_is_nocase(part, d->name))
            (void)snprintf(to, size, "\"%.*s\" is its name", SPAN_ARG(part));
        else
            (void)snprintf(to, size, "\"%.*s\" is one of its aliases", SPAN_ARG(part));
        return;
    case IDENTITY_BY_MACHINE:
        (void)snprintf(to, size,
                       "\"%.*s\" is this machine, and it is the first that stands for its accounts",
                       SPAN_ARG(part));
        return;
    case IDENTITY_BY_IMPLIED:
        (void)snprintf(to, size, "\"%.*s\" is its %s", SPAN_ARG(part),
                       d->backend == AUTH_BACKEND_KERBEROS ? "realm" : "bind pattern's domain");
        return;
    case IDENTITY_BY_DEFAULT:
        (void)snprintf(to, size,
                       "the name has no domain, and authentication.basic.default_domain is \"%s\"",
                       o->basic.default_domain);
        return;
    case IDENTITY_BY_FIRST:
        (void)snprintf(to, size,
                       "the name has no domain, there is no authentication.basic.default_domain, "
                       "and it is the first");
        return;
    case IDENTITY_BY_WHOLE:
        (void)snprintf(to, size,
                       "\"%.*s\" is no domain of ours, so the whole is an account of the first "
                       "user database",
                       SPAN_ARG(part));
        return;
    }
}

static void refuse_name(const struct policy *p, struct explain_identity *out)
{
    struct span part = domain_part(out->name);
    out->outcome = ACL_REFUSED;
    set_rule(p, out, "");
    (void)snprintf(out->change, sizeof out->change, "correct the name");
    switch (out->result) {
    case IDENTITY_OK: return;
    case IDENTITY_EMPTY:
        (void)snprintf(out->why, sizeof out->why, "there is no account in this name.");
        return;
    case IDENTITY_MALFORMED:
        (void)snprintf(out->why, sizeof out->why,
                       "no account can have this name: it is too long, not UTF-8, has spaces at an "
                       "end, control characters, a second backslash, or an @ where none may be.");
        return;
    case IDENTITY_NO_DOMAIN:
        (void)snprintf(out->why, sizeof out->why,
                       "authentication.domains has no \"%.*s\", neither as a name nor as an alias.",
                       SPAN_ARG(part));
        (void)snprintf(out->change, sizeof out->change,
                       "add \"%.*s\" to the aliases of the domain that is meant, or an entry of "
                       "its own to authentication.domains (%s:%u)",
                       SPAN_ARG(part), p->config->path, out->at.line);
        return;
    }
}

/* ---- the allow list ---- */

/* Names of the list that could be groups: "a, b and 3 more". */
static void group_words(const struct policy *p, const struct auth_domain *d, size_t domain,
                        char *out, size_t size)
{
    size_t used = 0, left = 0;
    out[0] = '\0';
    for (size_t i = 0; i < d->allow_count; i++) {
        const char *name = identity_allow_name(d->allow[i], domain, &p->auth);
        size_t n = name == NULL ? 0 : strlen(name) + 4;
        if (name == NULL)
            continue;
        if (used + n + 24 > size) {
            left++;
            continue;
        }
        int w = snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", name);
        used += w > 0 ? (size_t)w : 0;
    }
    if (left > 0)
        (void)snprintf(out + used, size - used, " and %zu more", left);
}

static void not_named(const struct policy *p, const struct auth_domain *d,
                      struct explain_identity *out)
{
    char groups[GROUPS_TEXT_MAX];
    bool has_groups = d->backend == AUTH_BACKEND_LDAP || d->backend == AUTH_BACKEND_SYSTEM;
    group_words(p, d, out->id.domain, groups, sizeof groups);
    (void)snprintf(out->change, sizeof out->change, "add %s to %s (%s:%u)", out->id.canonical,
                   out->rule, p->config->path, out->at.line);
    if (!has_groups) {
        out->outcome = ACL_REFUSED;
        (void)snprintf(out->why, sizeof out->why,
                       "the domain's allow list does not name the account, and a %s knows no "
                       "groups.",
                       d->backend == AUTH_BACKEND_KERBEROS ? "Kerberos realm" : "user database");
        return;
    }
    out->outcome = ACL_CANNOT_TELL;
    (void)snprintf(out->why, sizeof out->why,
                   "the domain's allow list does not name the account; it gets in as a member of "
                   "one of: %s. The backend is asked for that at each login.",
                   groups);
    (void)snprintf(out->change, sizeof out->change,
                   "make it a member of one of these groups, or add %s to %s (%s:%u)",
                   out->id.canonical, out->rule, p->config->path, out->at.line);
}

static void judge_list(const struct policy *p, struct explain_identity *out)
{
    const struct auth_domain *d = &p->auth.domains[out->id.domain];
    const struct config_list *list = &p->config->authentication.domains.items[out->id.domain].allow;
    size_t entry;
    out->outcome = ACL_ALLOWED;
    switch (identity_allowed(&out->id, &p->auth, &entry)) {
    case IDENTITY_EVERYONE:
        set_rule(p, out, "");
        (void)snprintf(out->why, sizeof out->why,
                       "the domain has no allow list: each of its accounts may authenticate.");
        return;
    case IDENTITY_LISTED:
        set_rule(p, out, ".allow");
        out->entry = d->allow[entry];
        out->at = list->items[entry].at;
        (void)snprintf(out->why, sizeof out->why, "the domain's allow list names the account.");
        return;
    case IDENTITY_ONLY_BY_GROUP: break;
    }
    set_rule(p, out, ".allow");
    not_named(p, d, out);
}

void explain_identity_judge(const struct policy *p, const char *name, struct explain_identity *out)
{
    *out = (struct explain_identity){.name = name, .entry = ""};
    out->result = identity_resolve(span_str(name), &p->auth, &out->id);
    if (out->result != IDENTITY_OK) {
        refuse_name(p, out);
        return;
    }
    tell_match(p, out);
    judge_list(p, out);
}

/* ---- words ---- */

static const char *verdict_words(enum acl_outcome outcome)
{
    switch (outcome) {
    case ACL_ALLOWED: return "may authenticate";
    case ACL_REFUSED: return "may not authenticate";
    case ACL_CANNOT_TELL: return "cannot be told";
    }
    return "";
}

void explain_identity_text(const struct policy *p, const struct explain_identity *who,
                           struct buf *out)
{
    const char *file = p->config->path;
    if (who->result == IDENTITY_OK) {
        const struct auth_domain *d = &p->auth.domains[who->id.domain];
        unsigned line = p->config->authentication.domains.items[who->id.domain].at.line;
        buf_addf(out, "%-9s%s\n", "user:", who->id.canonical);
        buf_addf(out, "%-9sauthentication.domains[%zu] \"%s\", backend %s",
                 "domain:", who->id.domain, d->name, backend_name(d->backend));
        if (line > 0)
            buf_addf(out, " (%s:%u)", file, line);
        buf_addf(out, "\n%-9s%s\n", "since:", who->found);
    } else {
        buf_addf(out, "%-9s%s\n", "user:", who->name);
    }
    buf_addf(out, "%-9s%s, by %s", "allow:", verdict_words(who->outcome), who->rule);
    if (who->entry[0] != '\0')
        buf_addf(out, " entry \"%s\"", who->entry);
    if (who->at.line > 0)
        buf_addf(out, " (%s:%u)", file, who->at.line);
    buf_addf(out, "\n%-9s%s\n", "why:", who->why);
    if (who->change[0] != '\0')
        buf_addf(out, "%-9s%s\n", "change:", who->change);
}

static json_t *text(const char *s)
{
    json_t *t = json_string(s);
    return t != NULL ? t : json_string("(not UTF-8)");
}

static json_t *line_json(unsigned line)
{
    return line > 0 ? json_integer((json_int_t)line) : json_null();
}

static json_t *domain_json(const struct policy *p, const struct explain_identity *who)
{
    if (who->result != IDENTITY_OK)
        return json_null();
    const struct auth_domain *d = &p->auth.domains[who->id.domain];
    return json_pack("{s:I, s:o, s:s, s:o, s:s, s:o}", "index", (json_int_t)who->id.domain, "name",
                     text(d->name), "backend", backend_name(d->backend), "line",
                     line_json(p->config->authentication.domains.items[who->id.domain].at.line),
                     "by", match_name(who->id.match), "why", text(who->found));
}

json_t *explain_identity_json(const struct policy *p, const struct explain_identity *who)
{
    json_t *allow = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "verdict",
                              acl_outcome_name(who->outcome), "rule", text(who->rule), "file",
                              text(p->config->path), "line", line_json(who->at.line), "entry",
                              text(who->entry), "why", text(who->why), "change", text(who->change));
    return json_pack("{s:o, s:o, s:o, s:o}", "name", text(who->name), "canonical",
                     who->result == IDENTITY_OK ? text(who->id.canonical) : json_null(), "domain",
                     domain_json(p, who), "allow", allow);
}

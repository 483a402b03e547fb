#include "commands/explain_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { TEXT_MAX = 64 * 1024 };

static const char *tls_words(enum route_tls tls)
{
    switch (tls) {
    case ROUTE_TLS_NONE: return "none";
    case ROUTE_TLS_OPTIONAL: return "optional";
    case ROUTE_TLS_REQUIRED: return "required";
    case ROUTE_TLS_VERIFY: return "verify";
    }
    return "";
}

static void host_words(const struct route_host *h, struct buf *out)
{
    const char *form = h->literal ? "[%s]:%u" : "%s:%u";
    buf_addf(out, form, h->name, (unsigned)h->port);
}

static const char *kind_name(enum route_kind kind)
{
    switch (kind) {
    case ROUTE_DROP: return "drop";
    case ROUTE_HOSTS: return "hosts";
    case ROUTE_MX: return "mx";
    }
    return "";
}

static void step_words(const struct policy *p, const struct route_step *s, struct buf *out)
{
    switch (s->kind) {
    case ROUTE_DROP: buf_add_str(out, "the Drop directory"); return;
    case ROUTE_MX:
        buf_addf(out, "the MX hosts of %s, port %u", s->domain, (unsigned)s->port);
        break;
    case ROUTE_HOSTS:
        buf_add_str(out, "smart host ");
        for (size_t i = 0; i < s->n_hosts; i++) {
            buf_add_str(out, i > 0 ? ", then " : "");
            host_words(&s->hosts[i], out);
        }
        break;
    }
    buf_addf(out, ", TLS %s", tls_words(s->tls));
    if (s->credentials < p->credentials_count)
        buf_addf(out, ", authenticated as %s", p->credentials[s->credentials].user);
}

/* What would send it another way: the next more special rule, or this one. */
static void route_change(const struct explain_answer *answer, struct buf *out)
{
    const struct route *route = &answer->route;
    if (acl_explain_last(&answer->walk)->postmaster) {
        buf_add_str(out, "none: postmaster of this host reads its mail here (RFC 5321 4.5.1)");
        return;
    }
    bool own = route->rule[0] == 'd' && route->rule[1] == 'o'; /* domains[n]... */
    if (route->steps[0].kind == ROUTE_DROP)
        buf_add_str(out, "set the domain's type: remote");
    else
        buf_add_str(out, own ? "set the domain's smart_host"
                             : "give the domain a smart_host of its own, in domains");
    if (own && route->line > 0)
        buf_addf(out, " (%s:%u)", route->file, route->line);
}

static void route_step(const struct policy *p, const struct explain_answer *answer, struct buf *out)
{
    const struct route *route = &answer->route;
    buf_addf(out, "%-14s %-8s %s: ", "routing", "allowed", route->rule);
    for (size_t i = 0; i < route->n; i++) {
        if (i > 0)
            buf_add_str(out, ", or then ");
        step_words(p, &route->steps[i], out);
    }
    if (route->line > 0)
        buf_addf(out, " (%s:%u)", route->file, route->line);
    buf_addf(out, "\n%24sturn:  ", "");
    route_change(answer, out);
    buf_add_str(out, "\n");
}

static void route_text(const struct policy *p, const struct route *route, struct buf *out)
{
    for (size_t i = 0; i < route->n; i++) {
        buf_addf(out, "%-9s", i == 0 ? "route:" : "or then:");
        step_words(p, &route->steps[i], out);
        buf_add_str(out, "\n");
    }
    buf_addf(out, "%-9s%s", "by:", route->rule);
    if (route->line > 0)
        buf_addf(out, " (%s:%u)", route->file, route->line);
    buf_add_str(out, "\n");
}

static void effect_step(const struct explain_effect *x, struct buf *out)
{
    buf_addf(out, "%-14s %-8s %s: %s", x->step, "applied", x->rule, x->why);
    if (x->at.line > 0)
        buf_addf(out, " (%s:%u)", x->at.file, x->at.line);
    buf_addf(out, "\n%24sturn:  %s\n", "", x->change);
}

static bool print_buf(struct buf *out)
{
    bool ok = !out->failed && fputs(buf_cstr(out), stdout) >= 0;
    buf_deinit(out);
    return ok;
}

bool explain_print_text(const struct policy *p, const struct explain_answer *answer,
                        const struct explain_identity *who)
{
    struct buf out;
    buf_init(&out, TEXT_MAX);
    size_t middle = acl_explain_until(&answer->walk, ACL_RCPT);
    bool ok = acl_explain_steps(&answer->walk, 0, middle, &out);
    for (size_t i = 0; i < answer->n_effects; i++)
        effect_step(&answer->effects[i], &out);
    ok = ok && acl_explain_steps(&answer->walk, middle, answer->walk.n, &out);
    if (answer->has_route)
        route_step(p, answer, &out);
    ok = ok && acl_explain_text(&answer->walk, &out);
    if (answer->has_route)
        route_text(p, &answer->route, &out);
    if (who != NULL)
        explain_identity_text(p, who, &out);
    return print_buf(&out) && ok;
}

static json_t *text(const char *s)
{
    json_t *t = json_string(s != NULL ? s : "");
    return t != NULL ? t : json_string("(not UTF-8)");
}

static json_t *line_json(unsigned line)
{
    return line > 0 ? json_integer((json_int_t)line) : json_null();
}

static json_t *route_json(const struct policy *p, const struct route *route)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < route->n; i++) {
        const struct route_step *s = &route->steps[i];
        json_t *hosts = json_array();
        struct buf words;
        for (size_t j = 0; j < s->n_hosts; j++) {
            buf_init(&words, TEXT_MAX);
            host_words(&s->hosts[j], &words);
            json_array_append_new(hosts, text(buf_cstr(&words)));
            buf_deinit(&words);
        }
        const char *user =
            s->credentials < p->credentials_count ? p->credentials[s->credentials].user : "";
        json_array_append_new(
            steps, json_pack("{s:s, s:o, s:o, s:s, s:o}", "kind", kind_name(s->kind), "hosts",
                             hosts, "domain", text(s->domain), "tls",
                             s->kind == ROUTE_DROP ? "" : tls_words(s->tls), "user", text(user)));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "rule", text(route->rule), "file", text(route->file),
                     "line", line_json(route->line), "steps", steps);
}

static json_t *need_json(unsigned need)
{
    json_t *list = json_array();
    if ((need & ACL_NEED_NAMES) != 0)
        json_array_append_new(list, json_string("host"));
    if ((need & ACL_NEED_TLS) != 0)
        json_array_append_new(list, json_string("tls"));
    if ((need & ACL_NEED_IDENTITY) != 0)
        json_array_append_new(list, json_string("user"));
    return list;
}

static json_t *step_json(const char *step, const char *verdict, const struct acl_reason *r)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:i, s:o, s:o, s:o}", "step", step, "stage",
                     acl_stage_name(r->stage), "verdict", verdict, "rule", text(r->rule), "file",
                     text(r->at.file), "line", line_json(r->at.line), "column", (int)r->at.column,
                     "entry", text(r->entry), "why", text(r->why), "change", text(r->change));
}

static void walk_json(const struct acl_explanation *walk, size_t from, size_t to, json_t *steps)
{
    for (size_t i = from; i < to; i++) {
        const struct acl_reason *r = &walk->steps[i];
        json_array_append_new(steps,
                              step_json(acl_step_name(r->step), acl_verdict_name(r->verdict), r));
    }
}

static json_t *steps_json(const struct policy *p, const struct explain_answer *answer)
{
    json_t *steps = json_array();
    size_t middle = acl_explain_until(&answer->walk, ACL_RCPT);
    walk_json(&answer->walk, 0, middle, steps);
    for (size_t i = 0; i < answer->n_effects; i++) {
        const struct explain_effect *x = &answer->effects[i];
        struct acl_reason r = {.stage = x->stage, .at = x->at};
        (void)snprintf(r.rule, sizeof r.rule, "%s", x->rule);
        (void)snprintf(r.why, sizeof r.why, "%s", x->why);
        (void)snprintf(r.change, sizeof r.change, "%s", x->change);
        json_array_append_new(steps, step_json(x->step, "applied", &r));
    }
    walk_json(&answer->walk, middle, answer->walk.n, steps);
    if (answer->has_route) {
        struct acl_reason r = {.stage = ACL_RCPT,
                               .at = {answer->route.file, answer->route.line, 0}};
        struct buf words;
        (void)snprintf(r.rule, sizeof r.rule, "%s", answer->route.rule);
        buf_init(&words, TEXT_MAX);
        step_words(p, &answer->route.steps[0], &words);
        (void)snprintf(r.why, sizeof r.why, "%s", buf_cstr(&words));
        buf_reset(&words);
        route_change(answer, &words);
        (void)snprintf(r.change, sizeof r.change, "%s", buf_cstr(&words));
        buf_deinit(&words);
        json_array_append_new(steps, step_json("routing", "allowed", &r));
    }
    return steps;
}

static bool print_json(json_t *all)
{
    char *out = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
    bool ok = out != NULL && puts(out) >= 0;
    free(out);
    json_decref(all);
    return ok;
}

json_t *explain_json(const struct policy *p, const struct explain_answer *answer)
{
    const struct acl_reason *r = acl_explain_last(&answer->walk);
    bool allowed = answer->walk.outcome == ACL_ALLOWED;
    struct buf reply;
    buf_init(&reply, TEXT_MAX);
    acl_reason_reply(r, &reply);
    json_t *all =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o}", "verdict",
                  acl_outcome_name(answer->walk.outcome), "stage", acl_stage_name(r->stage), "rule",
                  text(r->rule), "line", line_json(r->at.line), "entry", text(r->entry), "reply",
                  text(buf_cstr(&reply)), "change", text(allowed ? "" : r->change), "file",
                  text(r->at.file), "column", (int)r->at.column, "why", text(r->why), "need",
                  need_json(r->verdict == ACL_NEED ? r->need : 0), "steps", steps_json(p, answer));
    if (all != NULL && answer->has_route)
        json_object_set_new(all, "route", route_json(p, &answer->route));
    buf_deinit(&reply);
    return all;
}

bool explain_print_json(const struct policy *p, const struct explain_answer *answer,
                        const struct explain_identity *who)
{
    json_t *all = explain_json(p, answer);
    if (all != NULL && who != NULL)
        json_object_set_new(all, "identity", explain_identity_json(p, who));
    return print_json(all);
}

bool explain_print_identity(const struct policy *p, const struct explain_identity *who, bool json)
{
    struct buf out;
    if (json)
        return print_json(
            json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "verdict",
                      acl_outcome_name(who->outcome), "stage", "auth", "rule", who->rule, "line",
                      line_json(who->at.line), "entry", text(who->entry), "reply",
                      who->outcome == ACL_REFUSED ? "535 5.7.3 Authentication unsuccessful" : "",
                      "change", text(who->change), "file", text(p->config->path), "why",
                      text(who->why), "identity", explain_identity_json(p, who)));
    buf_init(&out, TEXT_MAX);
    explain_identity_text(p, who, &out);
    return print_buf(&out);
}

void explain_print_doubt(const struct policy *p, const struct explain_request *r)
{
    struct buf out;
    buf_init(&out, TEXT_MAX);
    explain_doubt(p, r, &out);
    if (buf_span(&out).n > 0)
        fprintf(stderr, "postern: warning: %s\n", buf_cstr(&out));
    buf_deinit(&out);
}

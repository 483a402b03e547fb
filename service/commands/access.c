#include "commands/access.h"

#include "commands/explain_facts.h"
#include "commands/explain_print.h"
#include "platform/paths.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { NAMES_MAX = 64 * 1024 };

static const char *grant_name(enum config_grant grant)
{
    return grant == CONFIG_ONLY ? "only" : "all-except";
}

/* ---- show ---- */

static void print_control(const struct config *c, const char *name, enum config_grant grant,
                          const struct config_list *list)
{
    printf("access.%s: %s, %zu entr%s\n", name, grant_name(grant), list->count,
           list->count == 1 ? "y" : "ies");
    for (size_t i = 0; i < list->count; i++)
        printf("  %s:%u  %s\n", c->path, list->items[i].at.line, list->items[i].text);
}

static json_t *control_json(enum config_grant grant, const struct config_list *list)
{
    json_t *entries = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(entries, json_pack("{s:s, s:i}", "entry", list->items[i].text, "line",
                                                 (int)list->items[i].at.line));
    return json_pack("{s:s, s:o}", "grant", grant_name(grant), "list", entries);
}

static int print_json(json_t *all)
{
    char *out = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
    int code = out != NULL ? EXIT_DONE : EXIT_INTERNAL;
    if (out != NULL)
        puts(out);
    free(out);
    json_decref(all);
    return code;
}

int access_show(const struct access_request *r)
{
    struct policy *p = NULL;
    int code = command_load_policy(r->config, false, &p);
    if (code != EXIT_DONE)
        return code;
    const struct config_access *a = &p->config->access;
    if (r->json) {
        json_t *relay = control_json(a->relay.grant, &a->relay.list);
        json_object_set_new(relay, "authenticated", json_boolean(a->relay.authenticated));
        code = print_json(json_pack("{s:o, s:o}", "connection",
                                    control_json(a->connection.grant, &a->connection.list), "relay",
                                    relay));
    } else {
        print_control(p->config, "connection", a->connection.grant, &a->connection.list);
        print_control(p->config, "relay", a->relay.grant, &a->relay.list);
        printf("access.relay.authenticated: %s\n", a->relay.authenticated ? "true" : "false");
    }
    policy_unref(&p);
    return code;
}

/* ---- test ---- */

static const char *word_of(enum acl_verdict verdict)
{
    return verdict == ACL_ALLOW ? "allowed" : verdict == ACL_DENY ? "refused" : "not now";
}

static void print_reason(const char *what, const struct acl_reason *r)
{
    printf("%-11s %s  %s: %s", what, word_of(r->verdict), r->rule, r->why);
    if (r->entry[0] != '\0')
        printf(", by %s", r->entry);
    if (r->at.line != 0 && r->at.file != NULL)
        printf(" (%s:%u)", r->at.file, r->at.line);
    printf("\n");
    if (r->verdict != ACL_ALLOW && r->change[0] != '\0')
        printf("%-11s change: %s\n", "", r->change);
}

static json_t *reason_json(const struct acl_reason *r)
{
    return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s}", "verdict", word_of(r->verdict), "rule",
                     r->rule, "line", (int)r->at.line, "entry", r->entry, "why", r->why, "change",
                     r->change);
}

/* Both controls about one client without a login: what the lists alone say. */
static int judge(const struct access_request *r, const struct policy *p, const struct netaddr *ip,
                 const struct acl_names *names)
{
    struct acl_facts facts = {
        .client = *ip, .names = *names, .tls = FACT_VALUE, .identity_state = FACT_ABSENT};
    struct acl_reason connect, relay;
    facts.recipient.text = span_str("somebody@elsewhere.invalid");
    facts.recipient.local = span_str("somebody");
    facts.recipient.domain = span_str("elsewhere.invalid");
    bool yes = acl_decide(p->acl, ACL_CONNECT, &facts, &connect) == ACL_ALLOW;
    yes = acl_decide(p->acl, ACL_RCPT, &facts, &relay) == ACL_ALLOW && yes;
    if (r->json) {
        int code = print_json(json_pack("{s:o, s:o}", "connection", reason_json(&connect), "relay",
                                        reason_json(&relay)));
        return code != EXIT_DONE ? code : yes ? EXIT_DONE : EXIT_NO;
    }
    print_reason("connection", &connect);
    print_reason("relay", &relay);
    return yes ? EXIT_DONE : EXIT_NO;
}

int access_test(const struct access_request *r)
{
    struct policy *p = NULL;
    struct netaddr ip;
    struct acl_names names = {FACT_ABSENT, NULL, 0};
    struct span host = span_str(r->host);
    struct arena arena;
    if (!netaddr_parse(span_str(r->operands[0]), &ip)) {
        fprintf(stderr, "postern access: %s is no IP address\n", r->operands[0]);
        return EXIT_USAGE;
    }
    int code = command_load_policy(r->config, false, &p);
    if (code != EXIT_DONE)
        return code;
    arena_init(&arena, NAMES_MAX);
    if (host.n > 0)
        names = (struct acl_names){FACT_VALUE, &host, 1};
    else if (r->host == NULL && acl_uses_names(p->acl))
        code = explain_resolve(p, &ip, &arena, &names);
    if (code == EXIT_DONE)
        code = judge(r, p, &ip, &names);
    arena_deinit(&arena);
    policy_unref(&p);
    return code;
}

/* ---- the verbs ---- */

static const struct verb {
    const char *name;
    size_t least, most; /* operands */
} verbs[] = {
    {"show", 0, 0}, {"add", 2, 1000}, {"remove", 2, 1000}, {"test", 1, 1}, {"suggest", 0, 0}};

static int dispatch(const char *verb, const struct access_request *r)
{
    if (strcmp(verb, "show") == 0)
        return access_show(r);
    if (strcmp(verb, "test") == 0)
        return access_test(r);
    if (strcmp(verb, "suggest") == 0)
        return access_suggest(r);
    return access_change(r, strcmp(verb, "add") == 0);
}

int command_access(int argc, char **argv)
{
    struct access_request r = {0};
    const struct option options[] = {
        OPTION_CONFIG(&r.config),
        {.name = "host",
         .value = "NAME",
         .help = "test: the client's confirmed name; empty: it has none (default: looked up)",
         .text = &r.host},
        OPTION_JSON(&r.json),
    };
    struct command_line line = {
        .usage = "postern access show [-c FILE] [--json]\n"
                 "postern access add connection|relay ENTRY... [-c FILE]\n"
                 "postern access remove connection|relay ENTRY... [-c FILE]\n"
                 "postern access test IP [--host NAME] [-c FILE] [--json]\n"
                 "postern access suggest [-c FILE] [--json]",
        .about =
            "Shows and changes the lists of connection control and relay restrictions in the\n"
            "configuration file, in place: comments and order stay. A changed file is validated,\n"
            "written durably, and taken over by a running service. suggest: entries for the "
            "clients\n"
            "that were refused, or would have been (access.mode: observe), to choose from.\n"
            "test: exit code 0 when the client may connect and relay without a log-in, else 1.",
        OPTIONS(options),
        .operands_min = 1,
        .operands_max = 1002};
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(line.operands[0], verbs[i].name) != 0)
            continue;
        r.operands = line.operands + 1;
        r.count = (size_t)line.operand_count - 1;
        if (r.count < verbs[i].least || r.count > verbs[i].most)
            return options_usage_error(&line, "%s: wrong number of words", verbs[i].name);
        return dispatch(verbs[i].name, &r);
    }
    return options_usage_error(&line, "there is no access %s", line.operands[0]);
}

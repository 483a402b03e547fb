#include "commands/commands.h"
#include "commands/explain_case.h"
#include "commands/explain_facts.h"
#include "commands/explain_print.h"

#include <stdio.h>
#include <string.h>

enum { EXPLAIN_NAMES_MAX = 64 * 1024 };

struct explain_options {
    const char *config, *client, *host, *user, *listener, *from, *to, *counted, *batch, *test;
    bool tls, json, pickup, resolve;
};

static int exit_of(enum acl_outcome outcome)
{
    switch (outcome) {
    case ACL_ALLOWED: return EXIT_DONE;
    case ACL_REFUSED: return EXIT_NO;
    case ACL_CANNOT_TELL: return EXIT_CANNOT_TELL;
    }
    return EXIT_INTERNAL;
}

/* The machine's own name matters for postmaster, its other names for --user; asking for them may
 * ask the resolver, so it is not asked for without need. */
static const struct policy_machine *machine_for(const struct explain_options *o,
                                                struct policy_machine *machine)
{
    struct span to = span_str(o->to);
    if (to.n > 0 && to.p[0] == '<')
        to = span_from(to, 1);
    static const char *const none[] = {""};
    *machine = (struct policy_machine){
        .hostname = span_starts_nocase(to, "postmaster") ? NULL : "localhost",
        .names = o->user != NULL ? NULL : none};
    return machine;
}

/* What can be wrong with the options besides the configuration; *code on false. */
static bool read_request(const struct command_line *line, const struct explain_options *o,
                         struct explain_request *r, int *code)
{
    *r = (struct explain_request){
        .pickup = o->pickup, .user = o->user, .tls = o->tls, .from = o->from, .to = o->to};
    struct err e = {0};
    if (o->from == NULL || o->to == NULL || (o->client == NULL) != o->pickup)
        *code = options_usage_error(line, "--client (or --pickup), --from and --to are needed");
    else if (o->client != NULL && !netaddr_parse(span_str(o->client), &r->client))
        *code = options_usage_error(line, "--client %s is no IP address", o->client);
    else if (o->user != NULL && o->user[0] == '\0')
        *code = options_usage_error(line, "--user is empty");
    else if (o->counted != NULL && !explain_read_counted(o->counted, &r->counted, &e))
        *code = options_usage_error(line, "--%s", e.text);
    else if (o->host != NULL && o->resolve)
        *code = options_usage_error(line, "--host and --resolve exclude each other");
    else
        return true;
    return false;
}

static bool find_listener(const struct command_line *line, const struct policy *p,
                          const char *address, struct explain_request *r, int *code)
{
    r->listener = address != NULL ? policy_listener_find(p, address) : &p->listeners[0];
    if (r->listener != NULL)
        return true;
    *code = options_usage_error(line, "--listener %s: the configuration has none with this address",
                                address);
    return false;
}

/* --user stands alone: whose name that is, and whether it may authenticate. */
static bool asks_who(const struct explain_options *o)
{
    return o->user != NULL && o->client == NULL && o->host == NULL && o->listener == NULL &&
           o->from == NULL && o->to == NULL && o->counted == NULL && !o->tls && !o->pickup &&
           !o->resolve;
}

static int explain_user(const struct explain_options *o)
{
    struct explain_identity who;
    struct policy_machine machine = {.hostname = "localhost"};
    struct policy *p = NULL;
    int code = command_load_policy_for(o->config, false, &machine, &p);
    if (code != EXIT_DONE)
        return code;
    explain_identity_judge(p, o->user, &who);
    code = explain_print_identity(p, &who, o->json) ? exit_of(who.outcome) : EXIT_INTERNAL;
    policy_unref(&p);
    return code;
}

static int explain_message(const struct command_line *line, const struct explain_options *o)
{
    struct explain_request r;
    struct explain_answer answer;
    struct explain_identity who;
    struct policy_machine machine;
    struct policy *p = NULL;
    struct span host = span_str(o->host);
    struct arena arena;
    int code;
    if (!read_request(line, o, &r, &code))
        return code;
    code = command_load_policy_for(o->config, false, machine_for(o, &machine), &p);
    if (code != EXIT_DONE)
        return code;
    if (!find_listener(line, p, o->listener, &r, &code)) {
        policy_unref(&p);
        return code;
    }
    if (o->host != NULL) /* the confirmed name; "" = it has none */
        r.names = host.n > 0 ? (struct acl_names){FACT_VALUE, &host, 1}
                             : (struct acl_names){FACT_ABSENT, NULL, 0};
    arena_init(&arena, EXPLAIN_NAMES_MAX);
    if (o->resolve)
        code = explain_resolve(p, &r.client, &arena, &r.names);
    if (code == EXIT_DONE) {
        explain_print_doubt(p, &r);
        explain_judge(p, &r, &answer);
        code = exit_of(answer.walk.outcome);
        if (o->user != NULL)
            explain_identity_judge(p, o->user, &who);
        const struct explain_identity *named = o->user != NULL ? &who : NULL;
        if (!(o->json ? explain_print_json(p, &answer, named)
                      : explain_print_text(p, &answer, named)))
            code = EXIT_INTERNAL;
    }
    arena_deinit(&arena);
    policy_unref(&p);
    return code;
}

static int explain_file(const struct explain_options *o)
{
    struct policy *p = NULL;
    int code = command_load_policy(o->config, false, &p);
    if (code == EXIT_DONE)
        code = o->batch != NULL ? explain_batch(p, o->batch, o->json)
                                : explain_test(p, o->test, o->json);
    policy_unref(&p);
    return code;
}

static bool has_facts(const struct explain_options *o)
{
    return o->client != NULL || o->host != NULL || o->user != NULL || o->tls ||
           o->listener != NULL || o->pickup || o->from != NULL || o->to != NULL || o->resolve ||
           o->counted != NULL;
}

int command_explain(int argc, char **argv)
{
    struct explain_options o = {0};
    const struct option options[] = {
        OPTION_CONFIG(&o.config),
        {.name = "client", .value = "IP", .help = "the client's address", .text = &o.client},
        {.name = "host",
         .value = "NAME",
         .help = "its confirmed name; empty: it has none",
         .text = &o.host},
        {.name = "resolve", .help = "look its name up", .flag = &o.resolve},
        {.name = "user", .value = "U", .help = "it has authenticated as U", .text = &o.user},
        {.name = "tls", .help = "the session is under TLS", .flag = &o.tls},
        {.name = "listener",
         .value = "ADDR",
         .help = "the listener, as its address stands in the file (default: the first)",
         .text = &o.listener},
        {.name = "counted",
         .value = "LIST",
         .help = "this was counted within the minute: client.messages:60,account.recipients:5",
         .text = &o.counted},
        {.name = "pickup",
         .help = "a file in the Pickup directory instead of a client",
         .flag = &o.pickup},
        {.name = "from",
         .value = "A",
         .help = "the sender; empty or <>: the null sender",
         .text = &o.from},
        {.name = "to", .value = "B", .help = "the recipient", .text = &o.to},
        {.name = "batch",
         .value = "FILE",
         .help =
             "a case a line (client=IP from=A to=B ...), answered a line each; -: standard input",
         .text = &o.batch},
        {.name = "test",
         .value = "FILE",
         .help = "cases with the answer that is expected (... -> refused rule=R)",
         .text = &o.test},
        OPTION_JSON(&o.json),
    };
    struct command_line line = {
        .usage = "postern explain [-c FILE] --client IP [--host NAME] [--user U] [--tls]\n"
                 "                [--listener ADDR] [--counted LIST] --from A --to B [--json]\n"
                 "postern explain [-c FILE] --batch FILE | --test FILE [--json]\n"
                 "postern explain [-c FILE] --user U [--json]\n"
                 "postern explain [-c FILE] ID [--json]",
        .about =
            "Says what would become of a message, by which rule, and what would change it; with "
            "--user\nalone whose account that name is and whether it may authenticate; with the ID "
            "of a refusal,\nwhy that one was refused. It judges the configuration only: no "
            "certificate, account or\nDNS is looked at (but for --resolve).\n"
            "Exit code 0: allowed, 1: refused, 2: cannot tell. With --batch the worst of them "
            "all; with\n--test 0: all as expected, 1: not.",
        OPTIONS(options),
        .operands_max = 1};
    int code;
    if (!options_parse(&line, argc, argv, &code))
        return code;
    bool file = o.batch != NULL || o.test != NULL;
    if (file && (has_facts(&o) || line.operand_count > 0 || (o.batch != NULL && o.test != NULL)))
        return options_usage_error(&line, "--batch and --test stand alone");
    if (file)
        return explain_file(&o);
    if (line.operand_count == 0)
        return asks_who(&o) && o.user[0] != '\0' ? explain_user(&o) : explain_message(&line, &o);
    if (has_facts(&o))
        return options_usage_error(&line, "an ID stands alone");
    return explain_stored(o.config, line.operands[0], o.json);
}

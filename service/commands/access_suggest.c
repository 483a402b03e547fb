/* postern access suggest: what the kept refusals, and what access.mode: observe took down, would
 * take as list entries. Each client that the configuration of now still refuses gets one line. */
#include "commands/access.h"

#include "session/refusals.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { CLIENTS_MAX = 20000 };

/* One client before one control. */
struct client {
    struct netaddr ip;
    bool relay; /* else connection */
    char name[256];
    char from[256], to[256]; /* of the newest one */
    size_t count;
    json_int_t first_ms, last_ms;
};

struct collection {
    const struct policy *policy;
    struct client *clients;
    size_t count;
    size_t left_out; /* past CLIENTS_MAX */
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* What came from outside is shown without control characters. */
static void keep(char *out, size_t size, const char *text)
{
    (void)snprintf(out, size, "%s", text);
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
            *c = '?';
}

static struct client *find(struct collection *c, const struct netaddr *ip, bool relay)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->clients[i].relay == relay && netaddr_equal(&c->clients[i].ip, ip))
            return &c->clients[i];
    if (c->count == CLIENTS_MAX) {
        c->left_out++;
        return NULL;
    }
    struct client *fresh = &c->clients[c->count++];
    *fresh = (struct client){.ip = *ip, .relay = relay};
    return fresh;
}

/* Only what a list entry can turn: not TLS, a login, a malformed address. */
static bool visit(void *arg, struct span text)
{
    struct collection *c = arg;
    json_t *object = json_loadb((const char *)text.p, text.n, 0, NULL);
    const json_t *facts = json_object_get(object, "facts");
    const char *rule = text_of(object, "rule");
    bool relay = strncmp(rule, "access.relay", 12) == 0;
    struct netaddr ip;
    struct client *client = NULL;
    if ((relay || strncmp(rule, "access.connection", 17) == 0) &&
        netaddr_parse(span_str(text_of(facts, "client")), &ip))
        client = find(c, &ip, relay);
    if (client != NULL) {
        json_int_t at = json_integer_value(json_object_get(object, "time"));
        if (client->count++ == 0) { /* the newest comes first */
            client->last_ms = at;
            keep(client->from, sizeof client->from, text_of(facts, "from"));
            keep(client->to, sizeof client->to, text_of(facts, "to"));
            const char *name =
                json_string_value(json_array_get(json_object_get(facts, "names"), 0));
            keep(client->name, sizeof client->name, name != NULL ? name : "");
        }
        client->first_ms = at;
    }
    json_decref(object);
    return true;
}

/* Whether the configuration, as it is now, still refuses it: a list that was mended meanwhile asks
 * for nothing. */
static bool still_refused(const struct collection *c, const struct client *client)
{
    struct span name = span_str(client->name);
    struct acl_facts facts = {.client = client->ip, .tls = FACT_VALUE};
    struct acl_reason reason;
    facts.identity_state = FACT_ABSENT;
    facts.names = name.n > 0 ? (struct acl_names){FACT_VALUE, &name, 1}
                             : (struct acl_names){FACT_ABSENT, NULL, 0};
    facts.recipient.text = span_str("somebody@elsewhere.invalid");
    facts.recipient.local = span_str("somebody");
    facts.recipient.domain = span_str("elsewhere.invalid");
    const struct acl_policy *acl = c->policy->acl;
    if (!client->relay && c->policy->observed != NULL)
        acl = c->policy->observed;
    return acl_decide(acl, client->relay ? ACL_RCPT : ACL_CONNECT, &facts, &reason) != ACL_ALLOW;
}

static int by_count(const void *a, const void *b)
{
    const struct client *x = a, *y = b;
    if (x->relay != y->relay)
        return x->relay ? 1 : -1;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return netaddr_compare(&x->ip, &y->ip);
}

/* all-except: the entry that refuses it has to go; only: it has to come in. */
static const char *verb_of(const struct collection *c, const struct client *client)
{
    const struct config_access *a = &c->policy->config->access;
    enum config_grant grant = client->relay ? a->relay.grant : a->connection.grant;
    return grant == CONFIG_ONLY ? "add" : "remove";
}

static void print_client(const struct collection *c, const struct client *client)
{
    char ip[NETADDR_TEXT_MAX];
    const char *control = client->relay ? "relay" : "connection", *verb = verb_of(c, client);
    netaddr_format(&client->ip, ip);
    if (strcmp(verb, "add") == 0)
        printf("postern access add %s %s", control, ip);
    else
        printf("postern access test %s", ip);
    printf("   # %zu time%s", client->count, client->count == 1 ? "" : "s");
    if (client->name[0] != '\0')
        printf(", %s", client->name);
    if (client->relay)
        printf(", last from <%s> to <%s>", client->from, client->to);
    printf("%s\n", strcmp(verb, "add") == 0 ? "" : ": an entry refuses it, see whether it should");
}

static json_t *client_json(const struct collection *c, const struct client *client)
{
    char ip[NETADDR_TEXT_MAX];
    netaddr_format(&client->ip, ip);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s}", "control",
                     client->relay ? "relay" : "connection", "verb", verb_of(c, client), "entry",
                     ip, "name", client->name, "count", (json_int_t)client->count, "first",
                     client->first_ms, "last", client->last_ms, "from", client->from, "to",
                     client->to);
}

static int print_json(const struct collection *c)
{
    json_t *all = json_array();
    for (size_t i = 0; i < c->count; i++)
        json_array_append_new(all, client_json(c, &c->clients[i]));
    char *out = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
    if (out != NULL)
        puts(out);
    int code = out != NULL ? EXIT_DONE : EXIT_INTERNAL;
    free(out);
    json_decref(all);
    return code;
}

static int suggest(const struct access_request *r, struct collection *c)
{
    struct err e = {0};
    size_t kept = 0;
    if (!refusals_each(c->policy->data_directory, visit, c, &e)) {
        fprintf(stderr, "postern access: %s\n", e.text);
        return EXIT_IO;
    }
    for (size_t i = 0; i < c->count; i++)
        if (still_refused(c, &c->clients[i]))
            c->clients[kept++] = c->clients[i];
    c->count = kept;
    qsort(c->clients, c->count, sizeof *c->clients, by_count);
    if (r->json)
        return print_json(c);
    for (size_t i = 0; i < c->count; i++)
        print_client(c, &c->clients[i]);
    if (c->count == 0)
        printf("# nobody was refused whom a list entry would let in\n");
    if (c->left_out > 0)
        printf("# and %zu refusals of further clients\n", c->left_out);
    return EXIT_DONE;
}

int access_suggest(const struct access_request *r)
{
    struct collection c = {0};
    struct policy *p = NULL;
    int code = command_load_policy(r->config, false, &p);
    if (code != EXIT_DONE)
        return code;
    c.policy = p;
    c.clients = calloc(CLIENTS_MAX, sizeof *c.clients);
    code = c.clients != NULL ? suggest(r, &c) : EXIT_INTERNAL;
    free(c.clients);
    policy_unref(&p);
    return code;
}
